//! `shim completions` and `shim man`: the command lines of shim and netsetup for shells and
//! readers, from the same definition that parses them.
//!
//! netsetup's are written here and not by itself: as a CNI plugin it is started for every pod,
//! and stays free of what only a packager needs.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap_complete::Shell;
use podkeel_netsetup::error::{Context, Result};

/// Prints the completions of the program of that name for a shell.
pub fn completions(
    name: &'static str,
    program: &clap::Command,
    shell: Shell,
    out: &mut dyn Write,
) -> Result<i32> {
    // clap_complete offers hidden verbs, too, which are no user's.
    let verbs: Vec<clap::Command> =
        program.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect();
    let mut shown =
        clap::Command::new(name).args(program.get_arguments().cloned()).subcommands(verbs);
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut shown, name, &mut text);
    out.write_all(&text).ctx(|| "print the completions".into())?;
    Ok(0)
}

/// Writes a page for each program and each of its verbs into a folder, which is made if it isn't
/// there; without one, prints that of the first program.
pub fn man(programs: Vec<clap::Command>, dir: Option<&Path>, out: &mut dyn Write) -> Result<i32> {
    let Some(dir) = dir else {
        let first = programs.into_iter().next().map(|program| {
            // As generate_to does it for a folder.
            let mut program = program.disable_help_subcommand(true);
            program.build();
            clap_mangen::Man::new(program)
        });
        let mut text = Vec::new();
        let rendered = first.map_or(Ok(()), |page| page.render(&mut text));
        rendered.and_then(|()| out.write_all(&text)).ctx(|| "print the page".into())?;
        return Ok(0);
    };
    fs::create_dir_all(dir).ctx(|| format!("make {}", dir.display()))?;
    for program in programs {
        clap_mangen::generate_to(program, dir)
            .ctx(|| format!("write man pages to {}", dir.display()))?;
    }
    Ok(0)
}
