//! `shim image build` and `inspect`, without any network.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::bed::{NAME, SHIM, TAG, blob, done, fails, image, json, ok, refused, sums};
use super::common::{Kind, cgroup, scratch, sh, sh_out, world};

/// The most that one platform may take, all that is said about it included.
const PLATFORM: u64 = 12 * 1024;
/// The architectures that this shim carries.
fn carried() -> Vec<String> {
    let all = json(&ok(&["inspect"]));
    let platforms = all[0]["platforms"].as_array().expect("platforms").clone();
    platforms.iter().map(|p| p["architecture"].as_str().expect("a name").to_owned()).collect()
}

fn own() -> &'static str {
    if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }
}

fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a folder");
    dir
}

#[test]
fn two_builds_are_the_same_bytes() {
    let dir = folder("twice");
    for format in ["oci", "docker-archive"] {
        for date in ["", "1700000000"] {
            let build = |place: &str| {
                let place = dir.join(format!("{place}-{format}-{date}"));
                fs::create_dir(&place).expect("a folder");
                let mut command = image(&["build", "-o", "it.tar", "--format", format]);
                command.current_dir(&place).env("TZ", "Asia/Tokyo");
                if !date.is_empty() {
                    command.env("SOURCE_DATE_EPOCH", date);
                }
                done(&mut command);
                sums(&place)
            };
            let first = build("a");
            // The next second: a date of the moment would show.
            std::thread::sleep(std::time::Duration::from_millis(1100));
            assert_eq!(first, build("b"), "{format} {date}");
        }
    }
    let words =
        |name: &str| vec!["build".into(), "-o".into(), dir.join(name).display().to_string()];
    for name in ["one", "two"] {
        let words = words(name);
        ok(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert_eq!(sums(&dir.join("one")), sums(&dir.join("two")));
    sh(&format!("cd {} && sha256sum --check --strict SHA256SUMS", dir.join("one").display()));
    // Another date is another image.
    let mut command = image(&["build", "-o", "three"]);
    done(command.current_dir(&dir).env("SOURCE_DATE_EPOCH", "1700000000"));
    assert_ne!(sums(&dir.join("one")), sums(&dir.join("three")));
    let found = sh_out(&format!("grep -rl 1970 {} || true", dir.join("three").display()));
    assert_eq!(found, "", "a date that is not the one asked for");
}

/// Reads JSON blobs by the digests that name them, down to the program.
#[test]
fn every_digest_leads_to_what_it_names() {
    let dir = folder("chain").join("layout");
    ok(&["build", "-o", &dir.display().to_string()]);
    let index = json(&fs::read_to_string(dir.join("index.json")).expect("index.json"));
    let root = &index["manifests"][0];
    assert_eq!(root["annotations"]["org.opencontainers.image.ref.name"], TAG);
    assert_eq!(root["annotations"]["io.containerd.image.name"], NAME);
    let read = |digest: &Value| json(&String::from_utf8(blob(&dir, digest)).expect("UTF-8"));
    let platforms = read(&root["digest"])["manifests"].as_array().expect("platforms").clone();
    assert_eq!(platforms.len(), carried().len());
    for platform in &platforms {
        let mut total = platform["size"].as_u64().expect("a size");
        let manifest = read(&platform["digest"]);
        let config = read(&manifest["config"]["digest"]);
        assert_eq!(config["architecture"], platform["platform"]["architecture"]);
        assert_eq!(config["config"]["User"], "65535:65535");
        assert_eq!(config["config"]["Entrypoint"], json("[\"/pause\"]"));
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], TAG);
        total += manifest["config"]["size"].as_u64().expect("a size");
        // The layer: one file, of root, executable; its digest uncompressed in the configuration.
        assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
        let layer = &manifest["layers"][0];
        total += layer["size"].as_u64().expect("a size");
        let hex = layer["digest"].as_str().expect("a digest").replace("sha256:", "blobs/sha256/");
        let path = dir.join(hex).display().to_string();
        let listed = sh_out(&format!("tar --numeric-owner -tvzf {path}"));
        assert!(listed.starts_with("-r-xr-xr-x 0/0") && listed.ends_with(" pause"), "{listed}");
        let unpacked = sh_out(&format!("gzip -dc {path} | sha256sum"));
        let told = config["rootfs"]["diff_ids"][0].as_str().expect("a digest");
        assert_eq!(format!("sha256:{}", &unpacked[..64]), told);
        let referrers = index["manifests"].as_array().expect("manifests")[1..].iter();
        let mut kinds = Vec::new();
        for referrer in referrers {
            let artifact = read(&referrer["digest"]);
            if artifact["subject"]["digest"] != platform["digest"] {
                continue;
            }
            total += referrer["size"].as_u64().expect("a size") + 2;
            total += artifact["layers"][0]["size"].as_u64().expect("a size");
            kinds.push(referrer["artifactType"].as_str().expect("a type").to_owned());
            let program = sh_out(&format!("tar -xzOf {path} pause | sha256sum"));
            let statement = String::from_utf8(blob(&dir, &artifact["layers"][0]["digest"]));
            let statement = statement.expect("UTF-8");
            assert!(statement.contains(&program[..64]), "the program's digest: {statement}");
            let subject = platform["digest"].as_str().expect("a digest").replace("sha256:", "");
            assert!(statement.contains(&subject), "the platform's digest: {statement}");
        }
        assert_eq!(kinds, ["application/spdx+json", "application/vnd.in-toto+json"]);
        println!("linux/{}: {total} bytes", config["architecture"]);
        assert!(total <= PLATFORM, "{total} bytes for {}", config["architecture"]);
    }
    // inspect says the same of the layout and of what would be built.
    assert_eq!(ok(&["inspect", &dir.display().to_string()]), ok(&["inspect"]));
}

#[test]
fn a_blob_that_was_changed_is_not_trusted() {
    let dir = folder("changed").join("layout");
    let path = dir.display().to_string();
    ok(&["build", "-o", &path]);
    // Once more is no error, and changes nothing.
    let before = sums(&dir);
    ok(&["build", "-o", &path]);
    assert_eq!(sums(&dir), before);
    let blobs = fs::read_dir(dir.join("blobs/sha256")).expect("blobs");
    for blob in blobs.flatten() {
        let whole = fs::read(blob.path()).expect("a blob");
        let mut other = whole.clone();
        other[0] ^= 1;
        fs::write(blob.path(), &other).expect("a blob");
        let said = fails(2, &["inspect", &path]);
        let hex = blob.file_name().display().to_string();
        assert!(
            said.contains(&format!("cannot trust sha256:{hex}: its content is sha256:")),
            "{said}"
        );
        let said = fails(4, &["build", "-o", &path]);
        assert!(said.contains("the folder holds something else"), "{said}");
        fs::write(blob.path(), &whole).expect("a blob");
    }
    ok(&["inspect", &path]);
}

#[test]
fn what_cannot_be_built_is_said() {
    let dir = folder("refused");
    let said = fails(2, &["build", "--arch", "sparc"]);
    assert!(said.contains("for sparc: pause is written for amd64 and arm64"), "{said}");
    let said = fails(2, &["build", "--pause", "/bin/sh"]);
    assert!(said.contains("not FILE=ARCH"), "{said}");
    let said = fails(5, &["build", "--pause", "nowhere=amd64"]);
    assert!(said.contains("cannot read nowhere: No such file"), "{said}");
    let other = if own() == "amd64" { "arm64" } else { "amd64" };
    let pause = env!("CARGO_BIN_EXE_pause");
    let said = fails(2, &["build", "--pause", &format!("{pause}={other}")]);
    assert!(said.contains(&format!("it is a program for {}", own())), "{said}");
    let said = fails(2, &["build", "--pause", &format!("/bin/sh={}", own())]);
    assert!(said.contains("linked dynamically"), "{said}");
    let said = fails(2, &["build", "--format", "docker-archive", "--arch", "amd64,arm64"]);
    assert!(said.contains("one architecture"), "{said}");
    if !carried().contains(&other.to_owned()) {
        let said = fails(5, &["build", "--arch", other]);
        assert!(said.contains(&format!("carries pause for {}", own())), "{said}");
        assert!(said.contains(&format!("--pause FILE={other}")), "{said}");
    }
    for date in ["soon", "-1", "253402300800"] {
        let said = refused(2, image(&["build"]).env("SOURCE_DATE_EPOCH", date));
        assert!(said.contains(&format!("SOURCE_DATE_EPOCH={date}")), "{said}");
    }
    fs::write(dir.join("mine"), "mine").expect("a file");
    let said = fails(4, &["build", "-o", &dir.display().to_string()]);
    assert!(said.contains("holds something else"), "{said}");
    assert_eq!(sums(&dir).lines().count(), 1, "nothing may be left beside or inside");
}

/// skopeo sees all platforms and copies them; umoci unpacks one; runc runs it.
#[test]
#[ignore = "needs root"]
fn other_tools_take_it() {
    world(Kind::Root, || {
        let dir = scratch().join("layout").display().to_string();
        ok(&["build", "-o", &dir]);
        let raw = json(&sh_out(&format!("skopeo inspect --raw oci:{dir}:{TAG}")));
        let names = raw["manifests"].as_array().expect("platforms").iter();
        let names: Vec<_> = names.map(|m| m["platform"]["architecture"].clone()).collect();
        assert_eq!(names, carried());
        let seen = json(&sh_out(&format!("skopeo inspect --config oci:{dir}:{TAG}")));
        assert_eq!(seen["config"]["User"], "65535:65535");
        let copy = scratch().join("copy").display().to_string();
        sh(&format!("skopeo copy --all --preserve-digests oci:{dir}:{TAG} oci:{copy}:x"));
        let digest = |layout: &str| {
            let text = fs::read_to_string(format!("{layout}/index.json")).expect("index.json");
            json(&text)["manifests"][0]["digest"].clone()
        };
        assert_eq!(digest(&copy), digest(&dir));
        // The archive, too, for those who read archives.
        let tar = scratch().join("it.tar").display().to_string();
        ok(&["build", "-o", &tar]);
        assert_eq!(
            sh_out(&format!("skopeo inspect --raw oci-archive:{tar}:{TAG} | sha256sum")),
            sh_out(&format!("skopeo inspect --raw oci:{dir}:{TAG} | sha256sum"))
        );
        // umoci takes an index of one platform alone.
        let one = scratch().join("one").display().to_string();
        ok(&["build", "--arch", own(), "-o", &one]);
        runs(&one);
    });
}

fn runs(layout: &str) {
    let bundle = scratch().join("bundle");
    let place = bundle.display();
    sh(&format!("umoci unpack --image {layout}:{TAG} {place}"));
    let files = sh_out(&format!("find {place}/rootfs -mindepth 1 -printf '%P %m %U:%G\n'"));
    assert_eq!(files, "pause 555 0:0");
    let path = bundle.join("config.json");
    let mut config = json(&fs::read_to_string(&path).expect("config.json"));
    assert_eq!(config["process"]["user"]["uid"], 65535);
    config["process"]["terminal"] = false.into();
    config["linux"]["cgroupsPath"] = cgroup("umoci").into();
    fs::write(&path, config.to_string()).expect("config.json");
    sh(&format!("runc run --detach --bundle {place} base </dev/null >/dev/null 2>&1"));
    let pid = sh_out("runc state base | jq .pid");
    assert_eq!(sh_out(&format!("tr '\\0' ' ' </proc/{pid}/cmdline")).trim_end(), "/pause");
    assert_eq!(sh_out(&format!("awk '/^Uid/ {{print $2}}' /proc/{pid}/status")), "65535");
    sh("runc kill base TERM");
    sh(
        "n=0; until [ \"$(runc state base | jq -r .status)\" = stopped ]; do n=$((n+1)); [ $n -lt 100 ]; sleep 0.05; done",
    );
    sh("runc delete base");
}

/// What a pipe gets is the file.
#[test]
fn stdout_is_the_archive() {
    let dir = folder("pipe");
    for format in ["oci", "docker-archive"] {
        let file = dir.join(format).with_extension("tar").display().to_string();
        ok(&["build", "--format", format, "-o", &file]);
        let piped = sh_out(&format!("{SHIM} image build --format {format} | sha256sum"));
        assert_eq!(piped[..64], sh_out(&format!("sha256sum {file}"))[..64]);
    }
    // A terminal is spared.
    let said = sh_out(&format!("script -qec '{SHIM} image build' /dev/null </dev/null || true"));
    assert!(said.contains("it is a terminal"), "{said}");
}
