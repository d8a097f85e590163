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
pub(crate) struct InspectArgs {
    /// A layout's folder [default: the image that build would write]
    pub(crate) image: Option<String>,
}

/// A form of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// An OCI layout with all architectures
    Oci,
    /// What docker load takes in every version; one architecture
    DockerArchive,
}
