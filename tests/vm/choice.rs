//! Which tests run on which kernel. An emulated CPU is slow: those that show most.

/// A kernel, and what is tested on it.
pub(super) struct On {
    /// Its version.
    pub(super) label: &'static str,
    /// The Debian release that has it.
    pub(super) release: &'static str,
    /// Beginnings of the names of tests.
    pub(super) run: &'static [&'static str],
    /// Tests that fail here for a reason, and where they run.
    pub(super) cannot: &'static [(&'static str, &'static str)],
}

/// The test programs that the tests are in.
pub(super) const PROGRAMS: &[&str] = &["bridge", "crash", "drivers", "hook", "pause", "shim"];

/// The oldest kernel that we ask for: the whole core.
pub(super) const OLDEST: On = On {
    label: "5.10",
    release: "bullseye",
    run: &[
        "bridge::whole::both_families_leave_nothing",
        "drivers::again::",
        "drivers::bond::",
        "drivers::neighbours::vm_",
        "drivers::pci::vm_",
        "drivers::vm::",
        "hook::kinds::vm_",
        "hook::life::a_second_bundle_joins_by_path",
        "pause::drops_all_capabilities",
        "pause::leaves_on_term_and_int_as_pid_1",
        "shim::clean::what_the_caller_has_open_is_not_inherited",
        "shim::run::networks_by_name_several_none_and_the_hosts",
        "shim::share::localhost",
        "shim::share::pause_reaps_the_orphans_of_members",
    ],
    cannot: &[
        ("bridge::calls::", "it counts one kernel's messages; it runs beside these VMs"),
        ("bridge::check::whatever_is_changed_by_hand", SOMAXCONN),
        ("bridge::show::explain_tells_the_plan", SOMAXCONN),
        ("bridge::whole::a_custom_bridge_and_borrowed_sysctls", SOMAXCONN),
        ("bridge::whole::a_pod_that_is_gone_is_taken_away_by_its_name", SOMAXCONN),
    ],
};

/// These tests take a sysctl that old kernels show to the first user namespace alone.
const SOMAXCONN: &str =
    "net.core.somaxconn is not in other user namespaces here; it runs on recent kernels";

/// A recent kernel with all device types: what the oldest can't, and once each room.
pub(super) const RECENT: On = On {
    label: "6.12",
    release: "trixie",
    run: &[
        "bridge::vlan::",
        "bridge::whole::a_pod_that_is_gone_is_taken_away_by_its_name",
        "crash::vm_",
        "drivers::bond::",
        "drivers::map::vm_",
        "drivers::neighbours::vm_",
        "drivers::pci::vm_",
        "drivers::vm::",
        "hook::kinds::vm_",
        "pause::leaves_on_term_and_int_as_pid_1",
        "shim::run::a_base_has_namespaces_of_its_own",
    ],
    cannot: &[("bridge::calls::", "it counts one kernel's messages; it runs beside these VMs")],
};
