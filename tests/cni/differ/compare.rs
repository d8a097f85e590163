//! What differs between two sides' words, as lines.
//!
//! ```text
//!                       reference refused ADD       reference's ADD went well
//! ours refused ADD      nothing may be made or left: ours is compared with nothing
//! ours went well        its DEL leaves nothing      all is compared
//!                       that was not there
//! ```
//!
//! An error's text is not compared with the reference's, which is another's prose: ours stands
//! in [`errors`](super::errors), case by case.

use std::collections::BTreeSet;

use super::see::Seen;

/// What differs, a line each: `ADD error code: 999 -> 7`.
pub(super) fn differences(theirs: &Seen, ours: &Seen) -> Vec<String> {
    let [theirs, ours] = comparable(theirs, ours);
    let keys: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let show = |seen: &Seen, key: &String| seen.get(key).cloned().unwrap_or("(none)".to_owned());
    let differing = keys.into_iter().filter(|key| theirs.get(*key) != ours.get(*key));
    let only_one = |key: &str| {
        let told = |seen: &Seen, word: &str| seen.get(key).is_some_and(|value| value == word);
        let of = |word: &str| told(&theirs, word) != told(&ours, word);
        (of("(there)") || of("(gone)")) && theirs.contains_key(key) != ours.contains_key(key)
    };
    differing
        .filter(|key| !owners(key).iter().any(|owner| only_one(owner)))
        .map(|key| format!("{key}: {} -> {}", show(&theirs, key), show(&ours, key)))
        .collect()
}

/// Both sides without what can't be compared, as the picture above has it.
fn comparable(theirs: &Seen, ours: &Seen) -> [Seen; 2] {
    let refused = |seen: &Seen| seen.get("ADD exit").is_some_and(|exit| exit != "0");
    let both_say = |key: &str| {
        let prose = [" error text", " error details"].iter().find_map(|end| key.strip_suffix(end));
        prose.is_some_and(|verb| {
            let said = format!("{verb} error text");
            theirs.contains_key(&said) && ours.contains_key(&said)
        })
    };
    let made = |key: &str| {
        ["ADD made ", "ADD packets ", "ADD result", "CHECK ", "DEL packets "]
            .iter()
            .any(|of| key.starts_with(of))
    };
    let left = |key: &str| key.starts_with("DEL left ");
    let keep = |key: &str, value: &str, is_ours: bool| match (refused(theirs), refused(ours)) {
        (_, true) => is_ours || !made(key) && !left(key),
        (true, false) if is_ours => !made(key) || key == "CHECK exit" && value != "0",
        (true, false) => !made(key) && !left(key),
        (false, false) => true,
    };
    let of = |seen: &Seen, is_ours: bool| -> Seen {
        let kept = seen.iter().filter(|(key, value)| keep(key, value, is_ours) && !both_say(key));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    [of(theirs, false), of(ours, true)]
}

/// The objects whose coming tells this one's: of an attribute its object, of a sysctl and of
/// what a bridge knows of a port the link that it is about.
fn owners(key: &str) -> Vec<String> {
    let mut owners = Vec::new();
    if let Some((object, _)) = key.rsplit_once(' ') {
        owners.push(object.to_owned());
    }
    for kind in [" vlan ", " fdb "] {
        if let Some((place, port)) = key.split_once(kind) {
            let link = port.split(' ').next().unwrap_or_default();
            owners.push(format!("{place} link {link}"));
        }
    }
    if let Some((place, sysctl)) = key.split_once(" sysctl ") {
        let parts: Vec<&str> = sysctl.split('.').collect();
        if let ["net", _, "conf" | "neigh", link, ..] = parts[..] {
            // As sysctl(8) spells it.
            owners.push(format!("{place} link {}", link.replace('/', ".")));
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::{Seen, differences};

    fn seen(words: &[(&str, &str)]) -> Seen {
        words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn differ(theirs: &[(&str, &str)], ours: &[(&str, &str)], lines: &[&str]) {
        assert_eq!(differences(&seen(theirs), &seen(ours)), lines);
    }

    const LINK: (&str, &str) = ("ADD made pod link eth0", "(there)");
    const LEFT: (&str, &str) = ("DEL left host0 link br", "(there)");
    const WELL: (&str, &str) = ("ADD exit", "0");
    const NOT: (&str, &str) = ("ADD exit", "1");

    #[test]
    fn equal_words_are_no_line() {
        differ(&[WELL, LINK, LEFT], &[WELL, LINK, LEFT], &[]);
    }

    #[test]
    fn a_value_more_or_less_or_another_is_a_line() {
        let mtu = |of| ("ADD made pod link eth0 mtu", of);
        differ(
            &[WELL, LINK, mtu("1500")],
            &[WELL, LINK, mtu("1400")],
            &["ADD made pod link eth0 mtu: 1500 -> 1400"],
        );
        differ(&[WELL], &[WELL, LEFT], &["DEL left host0 link br: (none) -> (there)"]);
        differ(&[WELL, LEFT], &[WELL], &["DEL left host0 link br: (there) -> (none)"]);
        let gone = ("DEL left host0 nft table ip nat", "(gone)");
        differ(&[WELL], &[WELL, gone], &["DEL left host0 nft table ip nat: (none) -> (gone)"]);
    }

    #[test]
    fn an_object_that_only_one_side_has_is_one_line() {
        let mtu = ("ADD made pod link eth0 mtu", "1500");
        let sysctl = ("ADD made pod sysctl net.ipv4.conf.eth0.forwarding value", "1");
        let line = "ADD made pod link eth0: (none) -> (there)";
        differ(&[WELL], &[WELL, LINK, mtu, sysctl], &[line]);
        let vlan = ("ADD made pod vlan eth0 100", "(there)");
        differ(&[WELL], &[WELL, LINK, vlan], &[line]);
        let dotted = ("ADD made pod link br.100", "(there)");
        let sysctl_of_it = ("ADD made pod sysctl net.ipv4.conf.br/100.forwarding value", "1");
        let of_it = "ADD made pod link br.100: (none) -> (there)";
        differ(&[WELL], &[WELL, dotted, sysctl_of_it], &[of_it]);
        let gone = ("ADD made pod link eth0", "(gone)");
        let line = "ADD made pod link eth0: (none) -> (gone)";
        differ(&[WELL], &[WELL, gone, sysctl], &[line]);
    }

    /// Whatever the reference made: ours refused, so nothing may come of it.
    #[test]
    fn what_ours_refuses_makes_nothing_and_leaves_nothing() {
        for theirs in [&[WELL, LINK, LEFT][..], &[NOT, LINK, LEFT]] {
            let made = ["ADD made pod link eth0: (none) -> (there)"];
            let left = ["DEL left host0 link br: (none) -> (there)"];
            let ours = |more: &[(&'static str, &'static str)]| [&[NOT], more].concat();
            let lines = |theirs, more: &[_]| differences(&seen(theirs), &seen(&ours(more)));
            let of_objects = |lines: Vec<String>| -> Vec<String> {
                lines.into_iter().filter(|line| !line.starts_with("ADD exit")).collect()
            };
            assert_eq!(of_objects(lines(theirs, &[])), [""; 0]);
            assert_eq!(of_objects(lines(theirs, &[LINK])), made);
            assert_eq!(of_objects(lines(theirs, &[LEFT])), left);
        }
    }

    /// The reference refused: ours must take away by itself what it has made.
    #[test]
    fn what_only_ours_makes_it_takes_away() {
        let exit = "ADD exit: 1 -> 0";
        differ(&[NOT, LINK, LEFT], &[WELL, LINK], &[exit]);
        let left = "DEL left host0 link br: (none) -> (there)";
        differ(&[NOT, LEFT], &[WELL, LEFT], &[exit, left]);
        differ(&[NOT], &[WELL, ("CHECK exit", "0"), ("CHECK result x", "1")], &[exit]);
        let check = "CHECK exit: (none) -> 1";
        differ(&[NOT], &[WELL, ("CHECK exit", "1")], &[exit, check]);
    }

    #[test]
    fn del_is_compared_whoever_refused() {
        let (well, not) = (("DEL exit", "0"), ("DEL exit", "1"));
        for (theirs, ours) in [(NOT, NOT), (NOT, WELL), (WELL, NOT), (WELL, WELL)] {
            let lines = differences(&seen(&[theirs, not]), &seen(&[ours, well]));
            assert!(lines.contains(&"DEL exit: 1 -> 0".to_owned()), "{lines:?}");
        }
    }

    #[test]
    fn codes_are_compared_and_texts_where_one_side_has_none() {
        let (code, text) = ("ADD error code", "ADD error text");
        differ(
            &[NOT, (code, "999"), (text, "x")],
            &[NOT, (code, "7"), (text, "y"), ("ADD error details", "z")],
            &["ADD error code: 999 -> 7"],
        );
        let lines = ["ADD error text: (none) -> y", "ADD exit: 0 -> 1"];
        differ(&[WELL], &[NOT, (text, "y")], &lines);
    }
}
