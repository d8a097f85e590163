//! A registry behind TLS, with an authority that the test makes; and logins with passwords.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::bed::{Registry, done, fails, image, ok, refused};
use super::common::{Kind, scratch, sh, world};

const NAME: &str = "registry.keel.test:5000/keel/pause:1";
/// For user keel: `perl -e 'print crypt("secret", "\$2y\$05\$abcdefghijklmnopqrstuu")'`
const PASSWORD: &str = "keel:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
/// base64 of keel:secret
const LOGIN: &str = "a2VlbDpzZWNyZXQ=";

/// An authority, and a certificate of it for this name that ends after so many days.
pub(crate) fn certificate(name: &str, days: i32) -> (PathBuf, PathBuf, PathBuf) {
    let dir = scratch().join("tls");
    let d = dir.display();
    fs::create_dir_all(&dir).expect("a folder");
    let subject = "-subj /CN=keel -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    sh(&format!(
        "test -e {d}/ca.crt || openssl req -x509 {subject} -keyout {d}/ca.key -out {d}/ca.crt -days 2 2>/dev/null
         openssl req {subject} -keyout {d}/{name}.key -out {d}/{name}.csr 2>/dev/null
         printf 'subjectAltName=DNS:{name}\nbasicConstraints=CA:FALSE' >{d}/{name}.ext
         openssl x509 -req -in {d}/{name}.csr -CA {d}/ca.crt -CAkey {d}/ca.key -CAcreateserial \
            -days {days} -extfile {d}/{name}.ext -out {d}/{name}.crt 2>/dev/null"
    ));
    (dir.join("ca.crt"), dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")))
}

/// The lines of a registry's configuration that make it speak TLS.
pub(crate) fn speak_tls(certificate: &Path, key: &Path) -> String {
    format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display())
}

#[test]
#[ignore = "needs root"]
fn a_certificate_is_believed_only_from_whom_we_trust() {
    world(Kind::Root, || {
        sh("echo '127.0.0.1 registry.keel.test other.keel.test' >>/etc/hosts");
        let (ca, certificate, key) = certificate("registry.keel.test", 1);
        let _registry = Registry::start("127.0.0.1:5000", &speak_tls(&certificate, &key));
        let said = fails(1, &["push", NAME]);
        assert!(said.contains("signed by nobody that this system trusts"), "{said}");
        assert!(said.contains("--ca-file FILE"), "{said}");
        let ca_file = ca.display().to_string();
        ok(&["push", "--ca-file", &ca_file, NAME]);
        ok(&["inspect", "--ca-file", &ca_file, NAME]);
        // As OpenSSL's users say it, and where docker and podman keep it.
        done(image(&["push", NAME]).env("SSL_CERT_FILE", &ca));
        for dir in ["/etc/docker/certs.d", "/etc/containers/certs.d"] {
            let dir = format!("{dir}/registry.keel.test:5000");
            sh(&format!("mkdir -p {dir} && cp {ca_file} {dir}/ca.crt"));
            ok(&["push", NAME]);
            sh(&format!("rm -r {dir}"));
        }
        let said = fails(1, &["push", "--ca-file", &ca_file, "other.keel.test:5000/pause:1"]);
        assert!(said.contains("is not good") && said.contains("other.keel.test"), "{said}");
        // Who asks it without TLS is told so by Go in plain HTTP.
        let said = fails(1, &["push", "--plain-http", NAME]);
        assert!(said.contains("leave out --plain-http"), "{said}");
        let said = fails(5, &["push", "--ca-file", "nowhere.crt", NAME]);
        assert!(said.contains("nowhere.crt"), "{said}");
        let said = fails(2, &["push", "--ca-file", "/etc/hosts", NAME]);
        assert!(said.contains("no certificate in PEM form"), "{said}");
    });
}

#[test]
#[ignore = "needs root"]
fn a_certificate_that_has_ended_is_not_believed() {
    world(Kind::Root, || {
        sh("echo '127.0.0.1 registry.keel.test' >>/etc/hosts");
        let (ca, certificate, key) = certificate("registry.keel.test", -1);
        let _registry = Registry::start("127.0.0.1:5000", &speak_tls(&certificate, &key));
        let said = fails(1, &["push", "--ca-file", &ca.display().to_string(), NAME]);
        assert!(said.contains("is not good") && said.to_lowercase().contains("expired"), "{said}");
    });
}

/// A registry that wants a password, by all ways in which logins are kept.
#[test]
#[ignore = "needs root"]
fn a_login_is_found_where_docker_and_podman_keep_it() {
    world(Kind::Root, || {
        let file = scratch().join("htpasswd");
        fs::write(&file, PASSWORD).expect("htpasswd");
        let auth = format!("auth: {{htpasswd: {{realm: keel, path: {}}}}}\n", file.display());
        let _registry = Registry::start("127.0.0.1:5000", &auth);
        let name = "127.0.0.1:5000/keel/pause:1";
        let home = scratch().join("home");
        fs::create_dir_all(home.join("bin")).expect("a folder");
        let push = || {
            let mut command = image(&["push", "--plain-http", name]);
            command.env("HOME", &home).env("XDG_RUNTIME_DIR", home.join("run"));
            for name in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME"] {
                command.env_remove(name);
            }
            let path = std::env::var("PATH").expect("PATH");
            command.env("PATH", format!("{}:{path}", home.join("bin").display()));
            command
        };
        let said = refused(6, &mut push());
        assert!(
            said.contains("401 Unauthorized") && said.contains("docker login 127.0.0.1:5000"),
            "{said}"
        );

        let login = format!("{{\"auths\": {{\"127.0.0.1:5000\": {{\"auth\": \"{LOGIN}\"}}}}}}");
        for place in
            [".docker/config.json", "run/containers/auth.json", ".config/containers/auth.json"]
        {
            let path = home.join(place);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, &login).expect("a login");
            done(&mut push());
            // base64 of keel:wrong
            fs::write(&path, login.replace(LOGIN, "a2VlbDp3cm9uZw==")).expect("a login");
            let said = refused(6, &mut push());
            assert!(
                said.contains(&format!("doesn't take the login in {}", path.display())),
                "{said}"
            );
            fs::write(&path, login.replace(LOGIN, "?")).expect("a login");
            let said = refused(2, &mut push());
            assert!(said.contains("isn't base64 of user:password"), "{said}");
            fs::remove_file(path).expect("a login");
        }
        let elsewhere = scratch().join("elsewhere.json");
        fs::write(&elsewhere, &login).expect("a login");
        done(push().env("REGISTRY_AUTH_FILE", &elsewhere));

        // A helper, for this registry and for all.
        let helper = home.join("bin/docker-credential-keel");
        let script = "#!/bin/sh\n[ \"$1\" = get ] && read -r server\n\
                      [ \"$server\" = 127.0.0.1:5000 ] || { echo 'credentials not found in native keychain'; exit 1; }\n\
                      echo '{\"ServerURL\": \"x\", \"Username\": \"keel\", \"Secret\": \"secret\"}'\n";
        fs::write(&helper, script).expect("a helper");
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("a helper");
        let config = home.join(".docker/config.json");
        for text in
            ["{\"credHelpers\": {\"127.0.0.1:5000\": \"keel\"}}", "{\"credsStore\": \"keel\"}"]
        {
            fs::write(&config, text).expect("a login");
            done(&mut push());
        }
        fs::write(&config, "{\"credsStore\": \"none\"}").expect("a login");
        let said = refused(1, &mut push());
        assert!(
            said.contains("ask docker-credential-none for the login of 127.0.0.1:5000"),
            "{said}"
        );
    });
}
