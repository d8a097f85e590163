//! What is written is read back; alignment, acknowledgements, and lengths at their limit.

use podkeel_wire::nf::{self, COMMENT_MAX, Elem, ElemInfo, TableInfo, USERDATA_MAX};
use podkeel_wire::rt::{
    self, Addr, AddrInfo, CREATE, Kind, Link, LinkInfo, Port, Route, RouteInfo,
};
use podkeel_wire::{Batch, Message, attrs, messages};

use crate::ruleset::{self, TABLE};

fn whole(batch: &Batch) -> Vec<Message<'_>> {
    messages(batch.bytes()).collect::<Result<_, _>>().expect("our own messages are whole")
}

/// The kernel's answers have the same form as our requests.
#[test]
fn what_is_written_is_read_back() {
    let mut batch = Batch::new(1);
    let port = Port { hairpin: Some(false), isolated: Some(true) };
    let link = Link {
        index: 7,
        name: Some("eth0"),
        mac: Some([2, 0, 0, 0, 0, 7]),
        mtu: Some(1400),
        master: Some(3),
        alias: Some("a"),
        up: Some(true),
        port: Some(port),
        ..Link::default()
    };
    rt::new_link(&mut batch, CREATE, &link);
    let addr = Addr {
        index: 7,
        ip: [10, 0, 0, 1].into(),
        prefix: 8,
        broadcast: None,
        nodad: false,
        no_route: false,
    };
    rt::new_addr(&mut batch, &addr);
    let gateway = Some("fd00::1".parse().unwrap());
    let route =
        Route { priority: Some(9), ..Route::new(("fd01::".parse().unwrap(), 64), gateway, 7) };
    rt::new_route(&mut batch, &route);

    let all = whole(&batch);
    let read = LinkInfo::read(&all[0]).unwrap();
    let wanted = LinkInfo {
        index: 7,
        flags: libc::IFF_UP as u32,
        name: "eth0".into(),
        mac: link.mac,
        mtu: 1400,
        master: Some(3),
        alias: Some("a".into()),
        port,
        ..LinkInfo::default()
    };
    assert_eq!(read, wanted);
    let proto = Some(rt::PROTOCOL);
    let wanted = AddrInfo { index: 7, ip: addr.ip, prefix: 8, proto, scope: 0, flags: 0 };
    assert_eq!(AddrInfo::read(&all[1]), Some(wanted));
    let read = RouteInfo::read(&all[2]).unwrap();
    assert_eq!((read.dst, read.gateway, read.oif), (route.dst, gateway, Some(7)));
    assert_eq!(
        (read.table, read.protocol, read.kind, read.priority),
        (254, rt::PROTOCOL, libc::RTN_UNICAST, 9)
    );
    // No reader takes another's message.
    assert!(
        LinkInfo::read(&all[1]).is_none()
            && AddrInfo::read(&all[2]).is_none()
            && RouteInfo::read(&all[0]).is_none()
    );
}

#[test]
fn elements_are_read_back() {
    let mut batch = Batch::new(1);
    for (set, flags, elem) in ruleset::elements() {
        TABLE.make_elems(&mut batch, set, flags, &[elem]);
    }
    let read: Vec<_> = whole(&batch).iter().map(|m| ElemInfo::read(m).unwrap()).collect();
    let wanted = ruleset::elements()
        .into_iter()
        .map(|(set, _, elem)| ElemInfo { set: set.into(), elems: vec![elem] });
    assert_eq!(read, wanted.collect::<Vec<_>>());
}

/// The elements that nft made, as the kernel lists them to nft.
#[test]
fn the_kernels_list_is_read() {
    let golden = crate::golden::load("nft/list");
    let all: Vec<_> =
        golden.received.iter().flat_map(|b| messages(b)).map(Result::unwrap).collect();
    let table: Vec<_> = all.iter().filter_map(TableInfo::read).collect();
    assert_eq!(
        table,
        [TableInfo {
            family: nf::INET,
            name: "podkeel".into(),
            comment: Some(ruleset::COMMENT.into())
        }]
    );
    let found: Vec<_> = all.iter().filter_map(ElemInfo::read).flat_map(|e| e.elems).collect();
    let made: Vec<_> = ruleset::elements().into_iter().map(|(_, _, elem)| elem).collect();
    assert_eq!(found, made);
    let chains: Vec<_> =
        all.iter().filter_map(nf::ChainInfo::read).map(|c| (c.name, c.hook, c.priority)).collect();
    let hook = |h: &nf::Hook<'_>| (h.hook as u32, h.priority);
    let made = ruleset::CHAINS.iter().map(|(name, h)| {
        let h = h.as_ref().map(hook);
        (name.to_string(), h.map(|h| h.0), h.map(|h| h.1))
    });
    assert_eq!(chains, made.collect::<Vec<_>>());
    let rules: Vec<_> =
        all.iter().filter_map(nf::RuleInfo::read).map(|r| (r.chain, r.exprs, r.comment)).collect();
    let made = ruleset::rules().into_iter().map(|(chain, exprs, comment)| {
        let names = exprs.iter().map(|e| e.name().to_owned()).collect();
        (chain.to_owned(), names, comment.map(str::to_owned))
    });
    assert_eq!(rules, made.collect::<Vec<_>>());
    let sets: Vec<_> = all.iter().filter_map(nf::SetInfo::read).map(|s| s.name).collect();
    assert_eq!(sets, ruleset::SETS.map(|s| s.0));
    assert!(all.iter().any(|m| nf::generation(m).is_some()));
}

#[test]
fn everything_is_aligned_and_padded_with_zeros() {
    for len in 0..9 {
        let name = "x".repeat(len);
        let mut batch = Batch::new(1);
        rt::new_link(&mut batch, rt::REQUEST, &Link { name: Some(&name), ..Link::default() });
        rt::del_link(&mut batch, 5);
        assert_eq!(batch.bytes().len() % 4, 0);
        let all = whole(&batch);
        assert_eq!(all.len(), 2);
        let found: Vec<_> = all[0].attrs(16).collect();
        assert_eq!(found, [(libc::IFLA_IFNAME, [name.as_bytes(), &[0]].concat().as_slice())]);
        let end = 16 + 16 + 4 + len + 1;
        let second = batch.bytes().len() - 32;
        assert!(batch.bytes()[end..second].iter().all(|b| *b == 0) && second - end < 4);
    }
}

#[test]
fn only_the_last_message_asks_for_an_acknowledgement() {
    let mut batch = Batch::new(u32::MAX);
    batch.ack_last();
    assert!(batch.is_empty(), "nothing to acknowledge, nothing written");
    rt::get_link(&mut batch, "a");
    // Ends unaligned: the next header starts behind the padding.
    rt::new_link(
        &mut batch,
        CREATE,
        &Link { name: Some("ab"), kind: Kind::Bridge, ..Link::default() },
    );
    rt::del_link(&mut batch, 5);
    batch.ack_last();
    let ack = libc::NLM_F_ACK as u16;
    let heads: Vec<_> = whole(&batch).iter().map(|m| (m.seq, m.flags)).collect();
    assert_eq!(heads, [(u32::MAX, rt::REQUEST), (0, CREATE), (1, rt::REQUEST | ack)]);
    assert_eq!((batch.last_seq(), batch.next_seq()), (1, 2));
}

/// The largest payload fits; one byte more, and the message is one that the
/// kernel refuses (held against the kernel in `kernel`), never a shorter one.
#[test]
fn an_overlong_attribute_is_never_cut_or_wrapped() {
    for (len, kind) in
        [(65_531, libc::RTM_NEWLINK), (65_532, u16::MAX), (65_536, u16::MAX), (200_000, u16::MAX)]
    {
        let alias = "a".repeat(len);
        let mut batch = Batch::new(1);
        rt::new_link(
            &mut batch,
            rt::REQUEST,
            &Link { index: 5, alias: Some(&alias), ..Link::default() },
        );
        rt::del_link(&mut batch, 6);
        let all = whole(&batch);
        assert_eq!(
            (all.len(), all[0].kind, all[0].seq, all[1].kind),
            (2, kind, 1, libc::RTM_DELLINK)
        );
        if kind == u16::MAX {
            assert!(all[0].body.iter().all(|b| *b == 0), "nothing of it is left");
        } else {
            assert_eq!(all[0].attrs(16).find(libc::IFLA_IFALIAS), Some(alias.as_bytes()));
        }
    }
    // In a nest it is the nest that overflows: a list of elements of 20 bytes each.
    let elems = |count: u16| -> Vec<Elem> {
        let elem = |n: u16| Elem {
            key: [&[6, 0, 0, 0], &n.to_be_bytes()[..], &[0, 0]].concat(),
            ..Elem::default()
        };
        (0..count).map(elem).collect()
    };
    for (count, fits) in [(3_276, true), (3_277, false), (10_000, false)] {
        let mut batch = Batch::new(1);
        TABLE.make_elems(&mut batch, "ports4", nf::ENSURE, &elems(count));
        let all = whole(&batch);
        let read = ElemInfo::read(&all[0]).map(|e| e.elems.len());
        assert_eq!(read, fits.then_some(count.into()), "{count} elements");
    }
}

#[test]
fn comments_are_cut_at_a_character() {
    for (text, kept) in [
        ("x".repeat(200), COMMENT_MAX),
        ("ü".repeat(100), COMMENT_MAX),
        (format!("a{}", "ü".repeat(100)), 127),
    ] {
        let mut batch = Batch::new(1);
        let elem = Elem { key: vec![1; 4], comment: Some(text.clone()), ..Elem::default() };
        TABLE.make_elems(&mut batch, "masq4", nf::ENSURE, &[elem]);
        let read = ElemInfo::read(&whole(&batch)[0]).unwrap().elems.remove(0);
        assert_eq!(read.comment.as_deref(), Some(&text[..kept]));
    }
    const { assert!(2 + COMMENT_MAX < USERDATA_MAX) };
}

#[test]
fn attributes_end_at_the_first_torn_one() {
    let good = [5, 0, 1, 0, 0xaa, 0, 0, 0];
    for torn in
        [&[0, 0, 2, 0][..], &[3, 0, 2, 0], &[5, 0, 2, 0], &[8, 0, 2], &[0xff, 0xff, 2, 0, 0]]
    {
        let bytes = [&good[..], torn].concat();
        assert_eq!(attrs(&bytes).collect::<Vec<_>>(), [(1, &[0xaa][..])]);
    }
    // The last of a type wins, flags don't count, and the last needs no padding.
    let bytes = [&good[..], &[5, 0, 1, 0x80, 0xbb]].concat();
    assert_eq!(attrs(&bytes).find(1), Some(&[0xbb][..]));
}
