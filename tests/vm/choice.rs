//! Which tests run on which kernel. An emulated CPU is slow: those that show most.

use super::machine::{ARM64, Board, PC};

/// A kernel, and what is tested on it.
pub(super) struct On {
    /// Its version.
    pub(super) label: &'static str,
    /// The Debian release that has it.
    pub(super) release: &'static str,
    pub(super) board: Board,
    /// The test programs that the tests are in.
    pub(super) programs: &'static [&'static str],
    /// Beginnings of the names of tests.
    pub(super) run: &'static [&'static str],
    /// Tests that fail here for a reason, and where they run.
    pub(super) cannot: &'static [(&'static str, &'static str)],
}

/// All test programs that run in a VM.
const PROGRAMS: &[&str] =
    &["bridge", "cni", "crash", "drivers", "hook", "init", "ns", "pause", "shim"];

/// The oldest kernel that we ask for: the whole core.
pub(super) const OLDEST: On = On {
    label: "5.10",
    release: "bullseye",
    board: PC,
    programs: PROGRAMS,
    run: &[
        "bridge::check::a_whole_attachment_is_ok_from_first_to_last",
        "bridge::packets::a_pod_goes_out_as_its_host",
        "bridge::ports::a_published_port_is_reached_from_everywhere",
        "bridge::show::explain_tells_the_plan",
        "bridge::vlan::",
        "bridge::whole::a_bridge_that_lacks_the_gateway",
        "bridge::whole::a_hidden_sysctl_is_refused",
        "bridge::whole::a_pod_that_is_gone_is_taken_away_by_its_name",
        "bridge::whole::both_families_leave_nothing",
        "cni::chain::each_part_makes_and_takes_what_is_its_own",
        "cni::gc::what_is_not_valid_goes",
        "crash::vm_dummy",
        "crash::vm_plain_vlan",
        "crash::vm_vlan_of_a_bond",
        "drivers::again::",
        "drivers::bond::vm_a_bond_",
        "drivers::called::vm_in_a_routing_domain",
        "drivers::called::vm_on_what_is_made_on_demand",
        "drivers::host_device::it_comes_home_when_the_pod_died_first",
        "drivers::host_device::one_that_is_not_known_again_is_not_lost",
        "drivers::macvlan::a_queue_is_as_long_as_asked_or_refused",
        "drivers::map::it_draws_every_kind_of_link",
        "drivers::modules::vm_dummy",
        "drivers::modules::vm_ipvlan",
        "drivers::modules::vm_vlan_from",
        "drivers::neighbours::neighbours_on_a_bridge",
        "drivers::neighbours::the_host_reaches_the_first_pod_at_once",
        "drivers::neighbours::vm_",
        "drivers::pci::vm_",
        "drivers::place::",
        "drivers::tap::a_context_is_taken_by_a_process_that_ends",
        "drivers::vm::",
        "drivers::vxlan::pods_of_two_hosts_over_ipv6",
        "hook::failing::a_failing_hook_leaves_the_host_as_it_was",
        "hook::life::a_second_bundle_joins_by_path",
        "hook::life::what_a_runtime_never_took_away_gc_does",
        "init::own::exit_codes_are_remapped_on_request",
        "init::own::orphans_are_reaped_and_told_of",
        "init::own::term_a_grace_and_kill_to_what_is_left",
        "ns::pins::a_later_one_with_its_number_is_another",
        "ns::pins::every_kind_outlives_its_process",
        "pause::drops_all_capabilities",
        "pause::leaves_on_term_and_int_as_pid_1",
        "shim::clean::what_the_caller_has_open_is_not_inherited",
        "shim::run::networks_by_name_several_none_and_the_hosts",
        "shim::share::localhost",
        "shim::share::pause_reaps_the_orphans_of_members",
    ],
    cannot: &[
        CALLS,
        (
            "bridge::whole::a_custom_bridge_and_borrowed_sysctls",
            "net.core.somaxconn is not in other user namespaces here; it runs on 6.12",
        ),
    ],
};

const CALLS: (&str, &str) =
    ("bridge::calls::", "it counts one kernel's messages; it runs on the machine's own");

/// A recent kernel with all device types: what the oldest can't, and once each room.
pub(super) const RECENT: On = On {
    label: "6.12",
    release: "trixie",
    board: PC,
    programs: PROGRAMS,
    run: &[
        "bridge::vlan::",
        "bridge::whole::a_custom_bridge_and_borrowed_sysctls",
        "bridge::whole::a_pod_that_is_gone_is_taken_away_by_its_name",
        "cni::differ::vm_",
        "crash::vm_ipvlan",
        "drivers::bond::",
        "drivers::called::vm_what_comes_as_modules",
        "drivers::macvlan::a_queue_is_as_long_as_asked_or_refused",
        "drivers::map::vm_",
        "drivers::modules::vm_bridge",
        "drivers::modules::vm_on_a_vlan",
        "drivers::modules::vm_vrf",
        "drivers::neighbours::vm_",
        "drivers::pci::vm_",
        "drivers::vanished::vm_",
        "drivers::vm::",
        "hook::kinds::vm_",
        "pause::leaves_on_term_and_int_as_pid_1",
        "shim::run::a_base_has_namespaces_of_its_own",
    ],
    cannot: &[CALLS],
};

/// Another CPU: every kind of link, and once each room.
pub(super) const AARCH64: On = On {
    label: "aarch64",
    release: "bookworm",
    board: ARM64,
    programs: &["bridge", "drivers", "harness", "hook", "init", "ns", "pause", "shim"],
    run: &[
        "bridge::packets::a_pod_goes_out_as_its_host",
        "bridge::ports::a_published_port_is_reached_from_everywhere",
        "bridge::vlan::",
        "drivers::host_device::packets_go_over_it",
        "drivers::macvlan::siblings_reach_each_other_in_bridge_mode",
        "drivers::map::",
        "drivers::tap::a_program_at_its_other_end_is_reached",
        "drivers::vm::vm_ipvlan_l2",
        "drivers::vm::vm_vrf",
        "harness::trace::a_failed_call",
        "harness::trace::a_failing_brk",
        "harness::trace::threads_are_followed",
        "hook::life::a_second_bundle_joins_by_path",
        "init::own::a_name_chooses_the_init",
        "init::own::exit_codes_are_remapped_on_request",
        "init::own::orphans_are_reaped_and_told_of",
        "init::own::term_a_grace_and_kill_to_what_is_left",
        "ns::pins::a_later_one_with_its_number_is_another",
        "ns::pins::every_kind_outlives_its_process",
        "pause::drops_all_capabilities",
        "pause::leaves_on_term_and_int_as_pid_1",
        "pause::memory::sleeps_at_the_floor_again",
        "pause::says_its_version",
        "pause::warns_when_it_is_not_the_first_process",
        "shim::plain::it_needs_no_c_library",
        "shim::share::localhost",
        "shim::share::pause_reaps_the_orphans_of_members",
    ],
    cannot: &[],
};
