//! Our nf_tables requests against those of `nft`, message by message.

use podkeel_wire::Batch;
use podkeel_wire::nf::{self, Elem};

use crate::golden::{self, Golden, cut};
use crate::ruleset::{self, Part, TABLE, join};
use crate::tree::{Named, Nf, assert_same};

const EXCL: &str = "NLM_F_EXCL: what is there already is an error to us";
const CREATE: &str = "NLM_F_CREATE: nft makes a table without";
const SET_ID: &str =
    "nft names a set by its number in the transaction too; the kernel takes the name alone";
const HINTS: &str =
    "nft's userdata of a concatenation: no byte order, and hints of the type of each field";
const ONE_FAMILY: &str = "nft lists all families, we one";
const TABLE_ONLY: &str = "nft lists all tables' objects, we one table's";

const NEWTABLE: &[Named] = &[Named { lines: &["-flags = 0x1", "+flags = 0x401"], why: CREATE }];
const NEWCHAIN: &[Named] = &[Named { lines: &["-flags = 0x401", "+flags = 0x601"], why: EXCL }];
const NEWSET: &[Named] = &[Named { lines: &["-flags = 0x401", "+flags = 0x601"], why: EXCL }];
const NEWSET_CONCAT: &[Named] = &[
    Named { lines: &["-flags = 0x401", "+flags = 0x601"], why: EXCL },
    Named { lines: &["-13 = 000400000000*", "+13 = 000402000000"], why: HINTS },
];

const OF_TABLE: &[Named] = &[
    Named { lines: &["-body = 00*", "+body = 01*"], why: ONE_FAMILY },
    // "podkeel"
    Named { lines: &["+1 = 706f646b65656c00"], why: TABLE_ONLY },
];

/// The transaction that the command sent: its last buffer.
fn transaction(golden: &Golden) -> Vec<&[u8]> {
    cut(golden.sent.last().unwrap())
}

/// What differs in the n-th lookup of a rule, by the place of its expression.
fn by_id(place: usize) -> &'static [Named] {
    const fn lookup(line: &'static [&'static str; 1]) -> [Named; 1] {
        [Named { lines: line, why: SET_ID }]
    }
    const AT: [[Named; 1]; 5] = [
        lookup(&["-4.1#4.2.4 = *"]),
        lookup(&["-4.1#5.2.4 = *"]),
        lookup(&["-4.1#6.2.4 = *"]),
        lookup(&["-4.1#7.2.4 = *"]),
        lookup(&["-4.1#8.2.4 = *"]),
    ];
    &AT[place - 3]
}

/// What is meant to differ, message by message, in the order of `ruleset::make`.
fn named_of_ruleset() -> Vec<&'static [Named]> {
    let mut named: Vec<&'static [Named]> = vec![&[], NEWTABLE];
    named.extend(ruleset::CHAINS.map(|_| NEWCHAIN));
    named.extend(
        ruleset::SETS.map(|(_, key, ..)| if key.len() > 1 { NEWSET_CONCAT } else { NEWSET }),
    );
    for (_, exprs, _) in ruleset::rules() {
        let lookup = exprs.iter().position(|e| e.name() == "lookup");
        named.push(lookup.map_or(&[], by_id));
    }
    named.push(&[]);
    named
}

/// Compares two transactions message by message; returns how many are the same to the byte, but for numbering.
fn compare(golden: &Golden, ours: &Batch, named: &[&[Named]]) -> usize {
    let (theirs, ours) = (transaction(golden), cut(ours.bytes()));
    assert_eq!(theirs.len(), ours.len(), "{}: messages", golden.command);
    assert_eq!(named.len(), ours.len());
    for (n, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        assert_same(&format!("{}, message {n}", golden.command), theirs, ours, &Nf, named[n]);
    }
    theirs.iter().zip(&ours).filter(|(t, o)| t[4..8] == o[4..8] && t[16..] == o[16..]).count()
}

#[test]
fn the_ruleset_is_what_nft_sends() {
    let golden = golden::load("nft/ruleset");
    let mut batch = Batch::new(0);
    ruleset::make(&mut batch, 1);
    let exact = compare(&golden, &batch, &named_of_ruleset());
    // Those that make nothing and look nothing up: begin, end and six rules.
    assert!(exact >= 8, "only {exact} messages are the same to the byte");
}

#[test]
fn the_elements_are_what_nft_sends() {
    let golden = golden::load("nft/elements");
    let mut batch = Batch::new(0);
    ruleset::make_elements(&mut batch);
    let id: &[Named] = &[Named { lines: &["-4 = *"], why: SET_ID }];
    let mut named: Vec<&[Named]> = vec![id; ruleset::elements().len() + 2];
    named[0] = &[];
    *named.last_mut().unwrap() = &[];
    compare(&golden, &batch, &named);
}

#[test]
fn deletions_and_questions_are_what_nft_sends() {
    let mut batch = Batch::new(0);
    nf::begin(&mut batch, None);
    TABLE.delete(&mut batch);
    nf::end(&mut batch);
    compare(&golden::load("nft/table-delete"), &batch, &[&[], &[], &[]]);

    let mut batch = Batch::new(0);
    nf::begin(&mut batch, None);
    let port = Elem { key: join(&[Part::Proto(6), Part::Port(8080)]), ..Elem::default() };
    TABLE.delete_elems(&mut batch, "ports4", &[port]);
    nf::end(&mut batch);
    compare(&golden::load("nft/elem-delete"), &batch, &[&[], &[], &[]]);

    let mut batch = Batch::new(1);
    let pod = Elem { key: join(&[Part::Ip("10.89.0.2")]), ..Elem::default() };
    TABLE.get_elem(&mut batch, "masq4", &pod);
    batch.ack_last();
    compare(&golden::load("nft/elem-get"), &batch, &[&[]]);

    let mut batch = Batch::new(0);
    nf::get_generation(&mut batch);
    let golden = golden::load("nft/ruleset");
    assert_same("nft -f: generation", cut(&golden.sent[0])[0], batch.bytes(), &Nf, &[]);
}

/// A question and how it is meant to differ.
type Question = (fn(&mut Batch), &'static [Named]);

#[test]
fn lists_are_asked_for_as_nft_asks() {
    let golden = golden::load("nft/list");
    let all: &[Named] = &[Named { lines: &["-body = 00*", "+body = 01*"], why: ONE_FAMILY }];
    let ours: [Question; 5] = [
        (|b| _ = TABLE.dump_chains(b), all),
        (|b| _ = TABLE.dump_sets(b), OF_TABLE),
        (|b| _ = TABLE.dump_elems(b, "ports4"), &[]),
        (|b| _ = TABLE.dump_elems(b, "own6"), &[]),
        (|b| _ = TABLE.dump_rules(b), &OF_TABLE[1..]),
    ];
    for (ask, named) in ours {
        let mut batch = Batch::new(1);
        ask(&mut batch);
        let ours = batch.bytes();
        // The first of its kind that is about the same set, or about any.
        let kind = |m: &[u8]| u16::from_ne_bytes([m[4], m[5]]);
        let alike =
            |m: &&[u8]| kind(m) == kind(ours) && (kind(ours) != 0xa0d || m.len() == ours.len());
        let theirs = golden.requests().into_iter().filter(alike);
        let best = theirs
            .min_by_key(|m| crate::tree::diff(m, ours, &Nf).len())
            .expect("nft asks for these");
        assert_same(&golden.command, best, ours, &Nf, named);
    }
}
