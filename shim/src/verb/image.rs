//! `shim image`: the infra image, built from what shim carries.

use std::io::{IsTerminal, Write};
use std::path::Path;

use podkeel_image::blob::hex;
use podkeel_image::image::{Image, Recipe, parse_name};
use podkeel_image::inspect::{Layout, describe};
use podkeel_image::pause::{Architecture, Origin, Pause};
use podkeel_image::progress::Progress;
use podkeel_image::registry::{Remote, Transport};
use podkeel_image::time::Epoch;
use podkeel_image::{docker, engine, layout};
use podkeel_netsetup::error::{Context, Error, Kind, Result};

use crate::Carried;
use crate::cli::image::{
    BuildArgs, Engine, Format, ImageVerb, InspectArgs, LoadArgs, PushArgs, RecipeArgs,
    TransportArgs,
};

/// Runs a verb of the image. Returns the exit code.
pub(crate) fn run(carried: Carried, verb: ImageVerb) -> Result<i32> {
    match verb {
        ImageVerb::Build(args) => build(carried, &args),
        ImageVerb::Push(args) => push(carried, &args),
        ImageVerb::Load(args) => load(carried, &args),
        ImageVerb::Inspect(args) => inspect(carried, &args),
    }
}

fn build(carried: Carried, args: &BuildArgs) -> Result<i32> {
    let image = image(carried, &args.recipe, args.tag.as_deref(), args.format)?;
    let archive = || match args.format {
        Format::Oci => layout::archive(&image).map_err(ours),
        Format::DockerArchive => {
            docker::archive(&image, image.platforms[0].architecture).map_err(ours)
        }
    };
    match args.output.as_deref() {
        None => to_stdout(&image, &archive()?),
        Some(path) if path == Path::new("-") => to_stdout(&image, &archive()?),
        Some(path) if args.format == Format::Oci && !is_file(path) => {
            layout::write(&image, path).map_err(ours)?;
            summary(&image, &mut std::io::stdout())
        }
        Some(path) => {
            let bytes = archive()?;
            layout::write_file(path, &bytes).map_err(ours)?;
            let mut out = std::io::stdout();
            summary(&image, &mut out)?;
            writeln!(out, "{}  {}", hex(&bytes), path.display())
                .ctx(|| "print the digest".into())?;
            Ok(0)
        }
    }
}

fn is_file(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "tar") || path.is_file()
}

fn to_stdout(image: &Image, archive: &[u8]) -> Result<i32> {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        let error = Error::input("write an archive to stdout", "it is a terminal");
        return Err(error
            .hint("name a folder or file with -o, or redirect: shim image build | podman load"));
    }
    out.write_all(archive).and_then(|()| out.flush()).ctx(|| "write the archive".into())?;
    summary(image, &mut std::io::stderr())
}

/// One line for the image, and one a platform.
fn summary(image: &Image, out: &mut dyn Write) -> Result<i32> {
    let mut lines = format!("{} {}\n", image.name, image.index.digest());
    for platform in &image.platforms {
        lines += &format!("  linux/{} {}\n", platform.architecture, platform.manifest.digest());
    }
    out.write_all(lines.as_bytes()).ctx(|| "print the digests".into())?;
    Ok(0)
}

fn push(carried: Carried, args: &PushArgs) -> Result<i32> {
    let image = image(carried, &args.recipe, Some(&args.name), Format::Oci)?;
    let remote = Remote::to_push(&args.name, &transport(&args.transport)).map_err(ours)?;
    let progress = Progress::start();
    remote.push(&image, &progress).map_err(ours)?;
    drop(progress);
    summary(&image, &mut std::io::stdout())
}

fn load(carried: Carried, args: &LoadArgs) -> Result<i32> {
    // Each takes one archive; only containerd's can hold more than what runs here.
    let format = match args.engine {
        Engine::Containerd => Format::Oci,
        Engine::Docker | Engine::Podman => Format::DockerArchive,
    };
    let image = image(carried, &args.recipe, args.tag.as_deref(), format)?;
    let progress = Progress::start();
    progress.step(format!("{}: loading", image.name));
    let socket = args.socket.as_deref();
    let done = match args.engine {
        Engine::Docker => engine::docker(&image, socket),
        Engine::Podman => engine::podman(&image, socket),
        Engine::Containerd => engine::containerd(&image, &args.namespace, socket),
    };
    drop(progress);
    done.map_err(ours)?;
    summary(&image, &mut std::io::stdout())
}

fn transport(args: &TransportArgs) -> Transport {
    Transport { plain_http: args.plain_http, ca_file: args.ca_file.clone() }
}

fn inspect(carried: Carried, args: &InspectArgs) -> Result<i32> {
    let described = described(carried, args)?;
    // Labels come out of a hash map.
    let mut described = serde_json::Value::from(described);
    described.sort_all_objects();
    let text = serde_json::to_string_pretty(&described).unwrap_or_default();
    writeln!(std::io::stdout(), "{text}").ctx(|| "print the answer".into())?;
    Ok(0)
}

fn described(carried: Carried, args: &InspectArgs) -> Result<Vec<serde_json::Value>> {
    let Some(name) = &args.image else {
        let recipe = RecipeArgs { arch: Vec::new(), pause: Vec::new() };
        let image = image(carried, &recipe, None, Format::Oci)?;
        return Ok(vec![describe(&image, &image.root()).map_err(ours)?]);
    };
    let dir = Path::new(name);
    if dir.exists() {
        let layout = Layout::open(dir).map_err(ours)?;
        return layout.images().map(|root| describe(&layout, root).map_err(ours)).collect();
    }
    if !name.contains('/') {
        let error = Error::new(Kind::Missing, format!("inspect {name}"), "there is no such folder");
        return Err(error.hint("an image in a registry is named REGISTRY/NAME:TAG"));
    }
    let remote = Remote::to_read(name, &transport(&args.transport)).map_err(ours)?;
    let progress = Progress::start();
    progress.step(format!("{}: reading", remote.name()));
    let mut root = remote.resolve().map_err(ours)?;
    let named = [("io.containerd.image.name".to_owned(), remote.name())];
    root.set_annotations(Some(named.into()));
    Ok(vec![describe(&remote, &root).map_err(ours)?])
}

/// Builds what these words ask for.
fn image(carried: Carried, args: &RecipeArgs, tag: Option<&str>, format: Format) -> Result<Image> {
    let build = carried.build;
    let name =
        tag.map_or_else(|| format!("localhost/podkeel/pause:{}", build.version), str::to_owned);
    let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => Epoch::parse(&text).map_err(ours)?,
        Err(_) => Epoch::default(),
    };
    let recipe = Recipe {
        name: parse_name(&name).map_err(ours)?,
        version: build.version.to_owned(),
        commit: Some(build.commit).filter(|commit| !commit.is_empty()).map(str::to_owned),
        compiler: build.compiler.to_owned(),
        epoch,
    };
    Image::build(&recipe, &pauses(carried, args, format)?).map_err(ours)
}

/// The pauses that were asked for: the user's own before those that shim carries.
fn pauses(carried: Carried, args: &RecipeArgs, format: Format) -> Result<Vec<Pause>> {
    let own = args.pause.iter().map(|word| own_pause(word)).collect::<Result<Vec<_>>>()?;
    let mut known = own;
    for (name, program) in carried.pauses {
        let architecture = architecture(name)?;
        if known.iter().all(|pause| pause.architecture != architecture) {
            let pause =
                Pause::new(architecture, program.to_vec(), Origin::Carried, "what shim carries");
            known.push(pause.map_err(ours)?);
        }
    }
    let wanted = match format {
        _ if !args.arch.is_empty() => {
            args.arch.iter().map(|name| architecture(name)).collect::<Result<Vec<_>>>()?
        }
        Format::Oci => return Ok(known),
        // What docker loads runs here.
        Format::DockerArchive => Architecture::own().into_iter().collect(),
    };
    if format == Format::DockerArchive && wanted.len() != 1 {
        let error = Error::input("write a docker archive", "it holds one architecture");
        return Err(error.hint("name it: --arch amd64"));
    }
    wanted.into_iter().map(|architecture| find(&known, architecture)).collect()
}

fn find(known: &[Pause], architecture: Architecture) -> Result<Pause> {
    known.iter().find(|pause| pause.architecture == architecture).cloned().ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|pause| pause.architecture.name()).collect();
        let why = format!("this shim carries pause for {}", names.join(" and "));
        Error::new(Kind::Missing, format!("build the image for {architecture}"), why).hint(format!(
            "hand one in: --pause FILE={architecture}; or build shim with a compiler that has that target"
        ))
    })
}

/// FILE=ARCH.
fn own_pause(word: &str) -> Result<Pause> {
    let Some((file, name)) = word.rsplit_once('=') else {
        return Err(Error::input(format!("take --pause {word}"), "it is not FILE=ARCH"));
    };
    let program = std::fs::read(file).ctx(|| format!("read {file}"))?;
    Pause::new(architecture(name)?, program, Origin::File, file).map_err(ours)
}

fn architecture(name: &str) -> Result<Architecture> {
    Architecture::parse(name).ok_or_else(|| {
        Error::input(format!("build the image for {name}"), "pause is written for amd64 and arm64")
    })
}

/// The same failure as that of all other verbs, so that exit codes are the same.
fn ours(error: podkeel_image::Error) -> Error {
    use podkeel_image::Kind as Of;
    let kind = match error.kind {
        Of::Failed => Kind::Failed,
        Of::Input => Kind::Input,
        Of::Taken => Kind::Taken,
        Of::Missing => Kind::Missing,
        Of::Denied => Kind::Denied,
    };
    let translated = Error::new(kind, error.what, error.why);
    match error.hint {
        Some(hint) => translated.hint(hint),
        None => translated,
    }
}
