//! Words of iptables' command line that say which packets a rule is about: the conditions of
//! a published port. Those that nftables can say are read into types; every other one is
//! refused, because half of a condition would open a port to whom it is closed.
//!
//! Source: iptables(8), iptables-extensions(8).

use std::net::IpAddr;

use ipnet::IpNet;

use super::Proto;

/// One match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// What is looked at, and what it is to be.
    pub what: What,
    /// It is to be anything else.
    pub not: bool,
}

/// What a match looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `-s`: the source address.
    From(IpNet),
    /// `-d`: the destination address.
    To(IpNet),
    /// `--src-range`: the source address, first and last.
    FromRange(IpAddr, IpAddr),
    /// `--dst-range`: the destination address.
    ToRange(IpAddr, IpAddr),
    /// `-i`: the link that it came by; a name that ends in `+` is the beginning of one.
    In(String),
    /// `-o`: the link that it leaves by.
    Out(String),
    /// `-p`: the transport protocol, by its number.
    Proto(u8),
    /// `--sport`: the source port, first and last.
    FromPort(u16, u16),
    /// `--dport`: the destination port.
    ToPort(u16, u16),
    /// `--mark`: the packet's mark, of which the mask keeps bits.
    Mark(u32, u32),
    /// `--src-type`: the route type of the source address (RTN_LOCAL, ...).
    FromType(u32),
    /// `--dst-type`: the route type of the destination address.
    ToType(u32),
}

/// Why words can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// In words.
    pub why: String,
    /// iptables may know it: it is no mistake, but can't be done here.
    pub unknown: bool,
}

/// An option's letter, names, the extension that it belongs to, and its reader.
type Row = (&'static str, &'static [&'static str], &'static str, Reader);
type Reader = fn(&str, bool) -> Result<Vec<What>, String>;

const OPTIONS: &[Row] = &[
    ("-s", &["--source", "--src"], "", |word, v6| nets(word, v6, What::From)),
    ("-d", &["--destination", "--dst"], "", |word, v6| nets(word, v6, What::To)),
    ("-i", &["--in-interface"], "", |word, _| link(word, What::In)),
    ("-o", &["--out-interface"], "", |word, _| link(word, What::Out)),
    ("-p", &["--protocol", "--proto"], "", |word, _| proto(word)),
    ("--sport", &["--source-port"], "", |word, _| ports(word, What::FromPort)),
    ("--dport", &["--destination-port"], "", |word, _| ports(word, What::ToPort)),
    ("--mark", &[], "mark", |word, _| mark(word)),
    ("--src-range", &[], "iprange", |word, v6| range(word, v6, What::FromRange)),
    ("--dst-range", &[], "iprange", |word, v6| range(word, v6, What::ToRange)),
    ("--src-type", &[], "addrtype", |word, _| kind(word, What::FromType)),
    ("--dst-type", &[], "addrtype", |word, _| kind(word, What::ToType)),
    ("--comment", &[], "comment", |_, _| Ok(Vec::new())),
];

/// Extensions that `-m` may name.
const EXTENSIONS: [&str; 7] = ["tcp", "udp", "sctp", "mark", "iprange", "addrtype", "comment"];

/// Most rules that the lists of one condition (`-s A,B -d C,D`) may make.
const RULES_MAX: usize = 64;

/// Reads the words of a family. As for iptables a list of addresses means a rule for each:
/// what comes back are all rules, each a list of matches which must all hold.
///
/// # Errors
/// With the word that can't be read.
pub fn read(words: &[String], v6: bool) -> Result<Vec<Vec<Match>>, Refused> {
    let mut rules: Vec<Vec<Match>> = vec![Vec::new()];
    let mut loaded = Vec::new();
    // `--mark=1` is `--mark 1`.
    let mut words = words.iter().flat_map(|word| match word.split_once('=') {
        Some((option, value)) if option.starts_with("--") => vec![option, value],
        _ => vec![word.as_str()],
    });
    while let Some(mut option) = words.next() {
        let not = option == "!";
        if not {
            option = words.next().ok_or_else(|| mistake("\"!\" is the last word".into()))?;
        }
        let value = |value: Option<&str>| match value {
            Some("!") => Err(mistake(format!("\"!\" stands before {option:?}, not behind it"))),
            Some(value) => Ok(value.to_owned()),
            None => Err(mistake(format!("{option:?} needs a value"))),
        };
        if option == "-m" || option == "--match" {
            loaded.push(extension(&value(words.next())?, not)?);
            continue;
        }
        let row = OPTIONS.iter().find(|row| row.0 == option || row.1.contains(&option));
        let Some((_, _, needs, read)) = row else { return Err(unknown(option)) };
        if !needs.is_empty() && !loaded.contains(needs) {
            return Err(mistake(format!("{option:?} needs \"-m {needs}\" before it")));
        }
        let value = value(words.next())?;
        let wrong = |why: String| mistake(format!("{option} {value:?}: {why}"));
        let all = read(&value, v6).map_err(wrong)?;
        if not && all.len() > 1 {
            return Err(wrong("\"!\" goes with one address only".into()));
        }
        rules = multiply(rules, &all, not).ok_or_else(|| wrong("these are too many".into()))?;
    }
    Ok(rules)
}

/// Each rule with each of the matches.
fn multiply(rules: Vec<Vec<Match>>, all: &[What], not: bool) -> Option<Vec<Vec<Match>>> {
    if all.is_empty() {
        return Some(rules);
    }
    let with = |rule: &Vec<Match>, what: &What| {
        let mut rule = rule.clone();
        rule.push(Match { what: what.clone(), not });
        rule
    };
    let product: Vec<_> =
        rules.iter().flat_map(|rule| all.iter().map(move |what| with(rule, what))).collect();
    (product.len() <= RULES_MAX).then_some(product)
}

fn mistake(why: String) -> Refused {
    Refused { why, unknown: false }
}

fn unknown(option: &str) -> Refused {
    let known: Vec<&str> = OPTIONS.iter().map(|row| row.0).collect();
    let why = format!(
        "{option:?} is not a match that can be done here: {}; with \"-m\" {}",
        known.join(", "),
        EXTENSIONS.join(", ")
    );
    Refused { why, unknown: true }
}

fn extension(name: &str, not: bool) -> Result<&'static str, Refused> {
    if not {
        return Err(mistake("\"!\" stands before \"-m\", and belongs behind it".into()));
    }
    EXTENSIONS.into_iter().find(|known| *known == name).ok_or_else(|| {
        let why =
            format!("-m {name:?} is not one that can be done here: {}", EXTENSIONS.join(", "));
        Refused { why, unknown: true }
    })
}

/// Addresses with a prefix length or a mask, and commas between them.
fn nets(word: &str, v6: bool, what: fn(IpNet) -> What) -> Result<Vec<What>, String> {
    let net = |text: &str| {
        let wrong = || format!("{text:?} is not an address or subnet");
        let net: IpNet = match text.split_once('/') {
            None => IpNet::from(text.parse::<IpAddr>().map_err(|_| wrong())?),
            Some((ip, len)) if len.contains(['.', ':']) => {
                let (ip, mask) = (ip.parse().map_err(|_| wrong())?, len.parse());
                IpNet::with_netmask(ip, mask.map_err(|_| wrong())?).map_err(|_| wrong())?
            }
            Some(_) => text.parse().map_err(|_| wrong())?,
        };
        of_family(net.addr(), v6)?;
        Ok(what(net.trunc()))
    };
    word.split(',').map(net).collect()
}

fn of_family(ip: IpAddr, v6: bool) -> Result<IpAddr, String> {
    match ip.is_ipv6() == v6 {
        true => Ok(ip),
        false => Err(format!("{ip} is of the other family")),
    }
}

fn range(word: &str, v6: bool, what: fn(IpAddr, IpAddr) -> What) -> Result<Vec<What>, String> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let ip = |text: &str| {
        let ip: IpAddr = text.parse().map_err(|_| format!("{text:?} is not an address"))?;
        of_family(ip, v6)
    };
    let (first, last) = (ip(first)?, ip(last)?);
    if first > last {
        return Err("its end comes before its beginning".into());
    }
    Ok(vec![what(first, last)])
}

/// A name, or with a `+` at its end how names begin. `+` alone is every link's.
fn link(word: &str, what: fn(String) -> What) -> Result<Vec<What>, String> {
    let is_name = |c: char| !c.is_whitespace() && c != '/';
    if word.is_empty() || word.len() > 15 || !word.chars().all(is_name) {
        return Err("it is not a link's name".into());
    }
    Ok(if word == "+" { Vec::new() } else { vec![what(word.to_owned())] })
}

fn proto(word: &str) -> Result<Vec<What>, String> {
    let named = [Proto::Tcp, Proto::Udp, Proto::Sctp].into_iter().find(|p| p.name() == word);
    match (named, word.parse()) {
        (Some(proto), _) => Ok(vec![What::Proto(proto.number())]),
        (None, Ok(0)) => Ok(Vec::new()),
        (None, Ok(number)) => Ok(vec![What::Proto(number)]),
        (None, Err(_)) if word == "all" => Ok(Vec::new()),
        _ => Err("it is neither tcp, udp, sctp nor a number".into()),
    }
}

fn ports(word: &str, what: fn(u16, u16) -> What) -> Result<Vec<What>, String> {
    let (first, last) = word.split_once(':').unwrap_or((word, word));
    let port = |text: &str, default: u16| match text {
        "" if word.contains(':') => Ok(default),
        text => text.parse().map_err(|_| format!("{text:?} is not a port's number")),
    };
    let (first, last) = (port(first, 0)?, port(last, u16::MAX)?);
    if first > last {
        return Err("its end comes before its beginning".into());
    }
    Ok(vec![what(first, last)])
}

fn mark(word: &str) -> Result<Vec<What>, String> {
    let number = |text: &str| {
        let hex = text.strip_prefix("0x").map(|digits| u32::from_str_radix(digits, 16));
        hex.unwrap_or_else(|| text.parse()).map_err(|_| format!("{text:?} is not a number"))
    };
    let (value, mask) = word.split_once('/').unwrap_or((word, "0xffffffff"));
    Ok(vec![What::Mark(number(value)?, number(mask)?)])
}

fn kind(word: &str, what: fn(u32) -> What) -> Result<Vec<What>, String> {
    let number = match word {
        "UNICAST" => libc::RTN_UNICAST,
        "LOCAL" => libc::RTN_LOCAL,
        "BROADCAST" => libc::RTN_BROADCAST,
        "MULTICAST" => libc::RTN_MULTICAST,
        _ => return Err("it is neither UNICAST, LOCAL, BROADCAST nor MULTICAST".into()),
    };
    Ok(vec![what(u32::from(number))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<Vec<Match>>, Refused> {
        read(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), false)
    }

    fn rule(text: &str) -> Vec<(What, bool)> {
        let rules = of(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        let [rule] = &rules[..] else { panic!("{text}: {rules:?}") };
        rule.iter().map(|m| (m.what.clone(), m.not)).collect()
    }

    #[test]
    fn words_of_iptables() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        assert_eq!(rule("! -d 10.0.0.0/8"), [(What::To(net("10.0.0.0/8")), true)]);
        assert_eq!(rule("--src 10.1.2.3/255.255.0.0"), [(What::From(net("10.1.0.0/16")), false)]);
        assert_eq!(
            rule("-p tcp -m tcp --sport 1024: -i eth+ ! -o lo"),
            [
                (What::Proto(6), false),
                (What::FromPort(1024, 65535), false),
                (What::In("eth+".into()), false),
                (What::Out("lo".into()), true)
            ]
        );
        assert_eq!(rule("-m mark ! --mark=0x1/0x3"), [(What::Mark(1, 3), true)]);
        assert_eq!(
            rule("-m addrtype --src-type LOCAL -m comment --comment x -i + -p all"),
            [(What::FromType(u32::from(libc::RTN_LOCAL)), false)]
        );
        assert_eq!(of("").unwrap(), [vec![]]);
        let both = of("-s 10.1.0.1,10.2.0.1 -d 10.3.0.1,10.4.0.1").unwrap();
        assert_eq!(both.len(), 4);
        assert_eq!(both[1][1], Match { what: What::To(net("10.4.0.1/32")), not: false });
    }

    #[test]
    fn what_is_refused() {
        for (text, why, unknown) in [
            ("-m set --match-set x src", "-m \"set\" is not one that can be done here", true),
            ("--ctstate NEW", "\"--ctstate\" is not a match that can be done here", true),
            ("ip saddr 10.0.0.1", "\"ip\" is not a match that can be done here", true),
            ("--mark 1", "\"--mark\" needs \"-m mark\" before it", false),
            ("-s", "\"-s\" needs a value", false),
            ("!", "\"!\" is the last word", false),
            ("-s ! 10.0.0.1", "\"!\" stands before \"-s\", not behind it", false),
            ("! -s 10.0.0.1,10.0.0.2", "\"!\" goes with one address only", false),
            ("-s example.org", "-s \"example.org\": \"example.org\" is not an address", false),
            ("-s fd00::1", "fd00::1 is of the other family", false),
            ("-s 10.0.0.0/33", "is not an address or subnet", false),
            ("-s 10.0.0.0/255.0.255.0", "is not an address or subnet", false),
            ("--dport 5:4", "its end comes before its beginning", false),
            ("--dport 70000", "\"70000\" is not a port's number", false),
            ("-i a-name-that-is-too-long", "it is not a link's name", false),
            ("-m iprange --src-range 10.0.0.9-10.0.0.1", "its end comes before", false),
            ("-m addrtype --src-type LOCAL,UNICAST", "it is neither UNICAST", false),
        ] {
            let refused = of(text).expect_err(text);
            assert!(refused.why.contains(why), "{text}: {}", refused.why);
            assert_eq!(refused.unknown, unknown, "{text}");
        }
        let many = ["10.0.0.1"; 9].join(",");
        assert!(of(&format!("-s {many} -d {many}")).unwrap_err().why.contains("too many"));
    }
}
