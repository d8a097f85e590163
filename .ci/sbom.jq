# What the programs of an archive are made of, as SPDX 2.3: the crates that `cargo metadata`
# says are linked into them (not what only tests or builds need, nor what macros are made by),
# Rust's library and C's.

def ref: "SPDXRef-" + gsub("[^A-Za-z0-9.-]"; "-");
def package($id; $name; $version; $license): {
    SPDXID: ($id | ref), name: $name, versionInfo: $version, licenseDeclared: $license,
    licenseConcluded: "NOASSERTION", copyrightText: "NOASSERTION",
    downloadLocation: "NOASSERTION", filesAnalyzed: false,
};
def relation($from; $kind; $to): {
    spdxElementId: ($from | ref), relationshipType: $kind, relatedSpdxElement: ($to | ref),
};
def closure($needs):
    (. + (map($needs[.]) | add) | unique) as $more
    | if length == ($more | length) then . else $more | closure($needs) end;

(.packages | map({key: .id, value: .}) | from_entries) as $crates
| (.resolve.nodes | map({
    key: .id,
    value: [.deps[] | select(any(.dep_kinds[]; .kind == null)).pkg
            | select(any($crates[.].targets[].kind[]; . == "proc-macro") | not)],
  }) | from_entries) as $needs
| def crate: $crates[.] | "crate-\(.name)-\(.version)";
  .resolve.root as $root
| ($sums | split("\n") | map(split("  ") | {name: .[1], sha256: .[0]})) as $programs
| ([$root] | closure($needs) | sort_by(crate)) as $linked
| [{id: "rust-std", name: "rust-std", version: $rustc, license: "Apache-2.0 OR MIT"},
   ($libc | split("\t") | {id: "libc", name: .[0], license: .[1], version: .[2]}
    | select(.version != ""))] as $libraries
| {
    spdxVersion: "SPDX-2.3", dataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT",
    name: "podkeel-\($version)-\($target)",
    documentNamespace:
        "https://podkeel.dev/spdx/podkeel-\($version)-\($target)-\($programs | map(.sha256[:16]) | join("-"))",
    creationInfo: {created: $date, creators: ["Tool: podkeel-release-\($version)"]},
    packages: (
        ($programs | map(
            package("program-\(.name)"; .name; $version; "Apache-2.0 OR MIT")
            + {packageFileName: "bin/\(.name)",
               checksums: [{algorithm: "SHA256", checksumValue: .sha256}]}))
        + ($linked | map(
            crate as $id | $crates[.]
            | package($id; .name; .version; ((.license // "NOASSERTION") | gsub(" ?/ ?"; " OR ")))
            + {externalRefs: [{
                referenceCategory: "PACKAGE-MANAGER", referenceType: "purl",
                referenceLocator: "pkg:cargo/\(.name)@\(.version)"}]}))
        + ($libraries | map(package(.id; .name; .version; .license)))),
    relationships: (
        ($programs | map(
            relation("DOCUMENT"; "DESCRIBES"; "program-\(.name)"),
            relation("program-\(.name)"; "GENERATED_FROM"; $root | crate)))
        + ($linked | map(
            crate as $from | $needs[.] | sort_by(crate)[] | relation($from; "DEPENDS_ON"; crate)))
        + ($libraries | map(relation($root | crate; "DEPENDS_ON"; .id)))),
}
