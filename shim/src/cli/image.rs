//! The words of `shim image`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// The infra image: pause for every engine
#[derive(Args, Debug)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    pub(crate) verb: ImageVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ImageVerb {
    /// Write the image to a folder or file: bit for bit the same each time
    ///
    /// Without -o an archive goes to stdout: shim image build | podman load. All dates are
    /// SOURCE_DATE_EPOCH's, or 1970. The digests are printed, of an archive on stdout to stderr.
    Build(BuildArgs),
    /// Push the image, with all that is said about it, to a registry
    ///
    /// Logins are those of docker login and podman login: config.json and auth.json with their
    /// credential helpers.
    Push(PushArgs),
    /// Hand the image to an engine of this machine
    Load(LoadArgs),
    /// Show what an image is made of, as JSON; every blob is compared with its digest
    Inspect(InspectArgs),
}

/// What decides the image.
#[derive(Args, Debug)]
pub(crate) struct RecipeArgs {
    /// Architectures [default: all that this shim carries, and those of --pause]
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    pub(crate) arch: Vec<String>,
    /// A pause of your own for an architecture
    #[arg(long, value_name = "FILE=ARCH")]
    pub(crate) pause: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    /// A folder for an OCI layout, or a file that ends in .tar for an archive; - is stdout
    #[arg(short, long, value_name = "DIR|FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Of which form
    #[arg(long, value_enum, default_value_t = Format::Oci)]
    pub(crate) format: Format,
    /// The name that engines file it by [default: localhost/podkeel/pause:VERSION]
    #[arg(short, long, value_name = "NAME:TAG")]
    pub(crate) tag: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    #[command(flatten)]
    pub(crate) transport: TransportArgs,
    /// Where to: registry.example:5000/pause:1
    #[arg(value_name = "REG/NAME:TAG")]
    pub(crate) name: String,
}

/// How a registry is reached.
#[derive(Args, Debug)]
pub(crate) struct TransportArgs {
    /// Speak to the registry without TLS
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Believe this authority, too, beside those of the system and of /etc/docker/certs.d
    #[arg(long, value_name = "FILE", conflicts_with = "plain_http")]
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    /// Which one
    #[arg(value_enum)]
    pub(crate) engine: Engine,
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    /// The name that the engine files it by [default: localhost/podkeel/pause:VERSION]
    #[arg(short, long, value_name = "NAME:TAG")]
    pub(crate) tag: Option<String>,
    /// The engine's socket [default: as its own client finds it]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// containerd's namespace; k8s.io is that of Kubernetes' pods
    #[arg(long, value_name = "NAME", default_value = "k8s.io")]
    pub(crate) namespace: String,
}

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Over its socket
    Docker,
    /// Over its socket, or by podman load where none is there
    Podman,
    /// By ctr images import
    Containerd,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// A layout's folder, or an image in a registry [default: the image that build would write]
    #[arg(value_name = "DIR|REG/NAME:TAG")]
    pub(crate) image: Option<String>,
    #[command(flatten)]
    pub(crate) transport: TransportArgs,
}

/// A form of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// An OCI layout with all architectures
    Oci,
    /// What docker load takes in every version; one architecture
    DockerArchive,
}
