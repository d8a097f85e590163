//! host-device by its place in the hardware: a card on the PCI bus, which tests/vm gives its
//! machines, whose other end is QEMU's own network with a host 10.0.2.2.

use serde_json::{Value, json};

use super::bed::{add, left, netsetup, network, pod, reaches, refused, settled};
use super::call::{ours, who, with};
use super::common::dump::{assert_same_world, dump};
use super::common::flatten::{items, text};
use super::common::{Kind, sh, sh_json, sh_out, world};

/// Takes the card into the world, as `nic0`, and returns its address on the bus. A card
/// without a driver has no link, and a link that it gets is in the machine's first namespace.
fn card() -> String {
    let first = "/first-netns";
    assert!(
        std::path::Path::new(first).exists(),
        "no card to spare on this machine; tests/vm boots Linux 5.10 and 6.12 with one"
    );
    sh("modprobe -a virtio_pci virtio_net && \
        touch /run/netns/world && mount --bind /proc/self/ns/net /run/netns/world");
    let links = sh_json(&format!("nsenter --net={first} ip -j link"));
    let mine = items(&links).iter().find(|link| link["address"] == "52:54:00:00:00:07");
    let mine = text(&mine.unwrap_or_else(|| panic!("none is the card: {links}"))["ifname"]);
    sh(&format!("nsenter --net={first} ip link set {mine} netns world name nic0"));
    sh_out("readlink -f /sys/class/net/nic0/device/.. | sed 's|.*/||'")
}

fn lent(keys: Value) -> Value {
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.0.2.0/24",
        "rangeStart": "10.0.2.15", "rangeEnd": "10.0.2.19", "gateway": "10.0.2.2"}]]});
    with(json!({"type": "host-device", "ipam": ipam}), keys)
}

#[test]
#[ignore = "needs a PCI card: tests/vm runs it on Linux 5.10 and 6.12"]
fn vm_a_card_is_lent_by_its_place_and_comes_home() {
    world(Kind::Root, || {
        let (pod, pci) = (pod("pod"), card());
        sh("ip link set nic0 up && ip link set nic0 alias 'port 7'");
        let all = [pod.clone()];
        let device = format!("/sys/devices/pci0000:00/{pci}/virtio");
        let device = sh_out(&format!("ls -d {device}*"));
        network("net", &lent(json!({"pciBusID": pci})));
        add("net --netns /run/netns/pod");
        netsetup("del net --netns /run/netns/pod");
        let before = settled(&all);
        for keys in [json!({"pciBusID": pci}), json!({"kernelpath": device})] {
            network("net", &lent(keys.clone()));
            let text = netsetup("explain net --netns /run/netns/pod");
            assert!(text.contains("link nic0 of the host as eth0"), "{keys}: {text}");
            let result = add("net --netns /run/netns/pod");
            assert_eq!(result["interfaces"][0]["mac"], "52:54:00:00:00:07", "{keys}");
            assert!(reaches(&pod, "10.0.2.2"), "{keys}: {}", pod.sh_out("ip addr; ip neigh"));
            netsetup("check net --netns /run/netns/pod");
            netsetup("del net --netns /run/netns/pod");
            assert_eq!(left(&before, &all), [""; 0], "{keys}");
        }
        by_a_runtime(&pci);
        assert_eq!(left(&before, &all), [""; 0], "as a plugin");
        driven_by_a_program(&pci);
    });
}

/// As a plugin, with the device that a runtime has chosen: its word counts.
fn by_a_runtime(pci: &str) {
    let conf = json!({"cniVersion": "1.0.0", "name": "net", "runtimeConfig": {"deviceID": pci}});
    for more in [json!({}), json!({"pciBusID": "0000:00:1f.7"})] {
        let conf = with(with(lent(more), conf.clone()), json!({"ipam": {}}));
        let result = ours().ok("ADD", &who("pod"), &conf);
        assert_eq!(result["interfaces"][0]["mac"], "52:54:00:00:00:07", "{result}");
        ours().ok("CHECK", &who("pod"), &with(conf.clone(), json!({"prevResult": result})));
        ours().ok("DEL", &who("pod"), &conf);
    }
}

/// A card whose driver is a program's (DPDK) has no link: it has its address, and no more.
fn driven_by_a_program(pci: &str) {
    let pod = super::common::Ns::named("pod");
    sh(&format!(
        "modprobe uio_pci_generic && cd /sys/bus/pci/devices/{pci} && echo {pci} >driver/unbind && \
         echo uio_pci_generic >driver_override && echo {pci} >/sys/bus/pci/drivers_probe"
    ));
    let driver = sh_out(&format!("readlink /sys/bus/pci/devices/{pci}/driver"));
    assert!(driver.ends_with("/uio_pci_generic"), "{driver}");
    let all = [pod];
    network("net", &lent(json!({"pciBusID": pci})));
    let before = dump(&all);
    let result = add("net --netns /run/netns/pod");
    assert_eq!(result["ips"][0]["address"], "10.0.2.18/24", "{result}");
    assert!(result["interfaces"].is_null(), "{result}");
    netsetup("check net --netns /run/netns/pod");
    netsetup("del net --netns /run/netns/pod");
    assert_same_world(&before, &dump(&all), &[]);
    // By its place it would be a link.
    network("net", &lent(json!({"kernelpath": format!("/sys/devices/pci0000:00/{pci}")})));
    let said = refused("add net --netns /run/netns/pod", 5);
    assert!(said.contains("no link of this network namespace belongs to it"), "{said}");
}
