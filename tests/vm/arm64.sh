# What /init does in the aarch64 VM; $version is set. A test is a function and a `try`.
now() { cut -d' ' -f1 /proc/uptime; }
try() {
    begin=$(now)
    (set -e; "$1") >/run/out 2>&1
    code=$?
    [ $code = 0 ] || while read -r line; do echo "@out $line"; done </run/out
    echo "@end $1 $code $begin $(now)"
}
soon() { for _ in $(seq 100); do "$@" && return; sleep 0.1; done; echo "never: $*"; return 1; }
is() { [ "$1" = "$2" ] || { echo "this: $1"; echo "not:  $2"; return 1; }; }

# A pod: pause as PID 1 of namespaces of its own. $outer is who waits for it, $pod its pid
# out here.
child() { grep -l "^PPid:.$outer\$" /proc/[0-9]*/status 2>/run/gone | cut -d/ -f3 | grep .; }
pod() {
    unshare -n -i -u -p -m -f --mount-proc /pause 2>/run/said &
    outer=$!
    soon child >/run/child
    pod=$(child)
    soon grep -q '^SigIgn:.*1....$' "/proc/$pod/status"
}
inside() { nsenter -t "$pod" -p -m "$@"; }
zombies() { inside ps -o stat,args | grep -c '^Z' || true; }
alone() { is "$(inside ps -o pid,comm | grep -vc -e COMMAND -e ' ps' -e ' grep')" 1; }
end() { kill "-$1" "$pod"; code=0; wait "$outer" || code=$?; is "$code" 0; }

says_its_version() {
    is "$(/pause -v)" "$version"
    is "$(/pause something -V)" "$version"
}
warns_where_it_is_not_the_first_process() {
    /pause 2>/run/said & pod=$! outer=$!
    soon grep -q Warning /run/said
    soon grep -q '^SigIgn:.*1....$' "/proc/$pod/status"
    end TERM
    is "$(cat /run/said)" "$(echo 'Warning: pause should be the first process'
        echo 'Shutting down, got signal: Terminated')"
}
leaves_on_term() {
    pod
    end TERM
    is "$(cat /run/said)" 'Shutting down, got signal: Terminated'
}
leaves_on_int() {
    pod
    end INT
    is "$(cat /run/said)" 'Shutting down, got signal: Interrupt'
}
stays_on_other_signals() {
    pod
    for signal in HUP USR1 USR2 ALRM CHLD PIPE; do kill "-$signal" "$pod"; done
    sleep 0.2
    alone
    end TERM
}
reaps_orphans() {
    pod
    # Their parent has left before they end: then they are the children of PID 1.
    inside sh -c 'for n in $(seq 50); do sh -c "sleep 0.2 &"; done'
    soon alone
    is "$(zombies)" 0
    end TERM
}

# An init: pause under a name over a command, as PID 1 of a PID namespace of its own, with a
# /proc of that.
init() { name=$1; shift; exec unshare -p -m -f --mount-proc "/inits/$name" "$@"; }
ends() { want=$1; shift; code=0; ("$@") || code=$?; is "$code" "$want"; }
ended() { code=0; wait "$outer" || code=$?; is "$code" "$1"; }
names='pause tini dumb-init catatonit'

runs_a_command() {
    for name in $names; do
        is "$(init $name -- sh -c 'echo "$$ $0 $1"' a 'b c')" '2 a b c'
        ends 7 init $name -- sh -c 'exit 7'
        ends 143 init $name -- sh -c 'kill -TERM $$'
        ends 0 init $name -e 143 -- sh -c 'kill -TERM $$'
        ends 127 init $name -- no-such-command
        ends 126 init $name -- /proc
        ends 7 "/inits/$name" -- sh -c 'exit 7'
    done
}
passes_signals_on() {
    for name in $names; do
        init $name -r 10:12 -- sh -c 'for s in HUP USR2 TERM; do trap "echo $s" $s; done
            echo ready; while :; do sleep 0.1; done' >/run/said &
        outer=$!
        soon grep -q ready /run/said
        pod=$(child)
        for signal in HUP:HUP USR1:USR2 TERM:TERM; do
            kill "-${signal%:*}" "$pod"
            soon grep -q "^${signal#*:}$" /run/said
        done
        kill -KILL "$pod"
        ended 137
    done
}
reaps_as_an_init() {
    for name in $names; do
        ends 5 init $name -w -- sh -c '(sleep 0.2 &); sleep 0.6; ps -o stat,args; exit 5' >/run/said 2>&1
        grep -q 'reaped zombie process with pid=' /run/said
        ! grep '^Z' /run/said
    done
}
waits_and_kills() {
    is "$(init pause --wait-all -- sh -c '(sleep 0.5; echo late) & exit 3')" late
    ends 3 init pause --grace 300ms -- sh -c '(trap "" TERM; while :; do sleep 1; done) & sleep 0.3; exit 3'
    init pause --grace 300ms -- sh -c 'trap "" TERM; echo ready; while :; do sleep 1; done' >/run/said &
    outer=$!
    soon grep -q ready /run/said
    kill -TERM "$(child)"
    ended 137
}

# A network: bridge, addresses, masquerade, a published port.
netns() { nsenter --net=/run/netns/web "$@"; }
a_pod_on_a_bridge() {
    netsetup ns add web
    netsetup add bridge --netns /run/netns/web -p 8080:80 >/run/result
    grep -q '10.89.0.2/16' /run/result
    netsetup check bridge --netns /run/netns/web
    netns ping -c 1 -W 5 10.89.0.1
    netns sh -c 'while :; do echo served | nc -l -p 80 >/run/heard; done' &
    server=$!
    is "$(soon ask)" served
    kill "$server"
    # What is taken away is missed by check, and by nobody after del.
    ip link set podkeel0 down
    netsetup check bridge --netns /run/netns/web >/run/checked && return 1
    grep -q 'link podkeel0 up.*it is down' /run/checked
    netsetup del bridge --netns /run/netns/web
    netsetup ns delete web
    is "$(ip link | grep -e podkeel0 -e ' pk')" ''
}
# Who has said all hears nothing more.
ask() { sleep 2 | timeout 2 nc 10.89.0.1 8080 2>/run/refused | grep .; }

# Each kind of link: two pods, `one` and `two`, of a network each, reach one another; what is changed
# is missed by check, and nothing is left of them.
list() { # NAME ADDRESS KEYS MORE-PLUGINS
    mkdir -p /etc/podkeel/net.d
    echo "{\"cniVersion\": \"1.0.0\", \"name\": \"$1\", \"plugins\": [{$3, \"ipam\": {\"type\": \"static\",
        \"addresses\": [{\"address\": \"$2/24\"}]}}$4]}" >"/etc/podkeel/net.d/$1.conflist"
}
attach() {
    netsetup ns add "$1"
    netsetup add "$1" --netns "/run/netns/$1" >/run/result
    netsetup check "$1" --netns "/run/netns/$1"
}
detach() {
    netsetup del "$1" --netns "/run/netns/$1"
    netsetup ns delete "$1"
}
at() { pod=$1; shift; nsenter --net="/run/netns/$pod" "$@"; }
links() { ip link | sed -n 's/^[0-9]*: \([^:@]*\).*/\1/p'; }
meet() { # KEYS-OF-ONE KEYS-OF-TWO MORE-PLUGINS WORDS-FOR-PING
    before=$(links)
    list one 10.5.0.1 "$1" "$3"
    list two 10.5.0.2 "$2" "$3"
    attach one
    attach two
    soon at one ping -c 1 -W 1 $4 10.5.0.2
}
part() {
    at one ip link set eth0 down
    netsetup check one --netns /run/netns/one >/run/checked && return 1
    grep -q 'link eth0 up.*it is down' /run/checked
    detach one
    detach two
    is "$(links)" "$before"
}
# The kernel calls the other end veth0.
cable() { ip link add up0 type veth; ip link set up0 up; ip link set veth0 up; }

macvlan_pods_meet() {
    cable
    meet '"type": "macvlan", "master": "up0"' '"type": "macvlan", "master": "up0"'
    part
    ip link del up0
}
ipvlan_pods_meet() {
    cable
    meet '"type": "ipvlan", "master": "up0"' '"type": "ipvlan", "master": "up0"'
    part
    ip link del up0
}
vlan_pods_meet() {
    cable
    meet '"type": "vlan", "master": "up0", "vlanId": 100' '"type": "vlan", "master": "veth0", "vlanId": 100'
    part
    ip link del up0
}
pods_meet_on_a_vlan_that_is_made() {
    cable
    meet '"type": "macvlan", "master": "up0.100"' '"type": "macvlan", "master": "veth0.100"'
    links | grep -q '^up0.100$'
    part
    ip link del up0
}
pods_meet_in_a_vrf() {
    cable
    meet '"type": "macvlan", "master": "up0"' '"type": "macvlan", "master": "up0"' \
        ', {"type": "vrf", "vrfname": "blue"}' '-I blue'
    part
    ip link del up0
}
pods_meet_on_a_bond() {
    ip link add p1 type veth
    ip link add p2 type veth
    ip link set veth0 up
    ip link set veth1 up
    on='"type": "macvlan", "master": "bond7",
        "bond": {"links": ["p1", "p2"], "mode": "active-backup", "miimon": 100}'
    meet "$on" "$on"
    grep -q '^active-backup' /sys/class/net/bond7/bonding/mode
    is "$(cat /sys/class/net/bond7/bonding/slaves)" 'p1 p2'
    part
    ip link del p1
    ip link del p2
}
a_dummy_has_its_address() {
    before=$(links)
    list one 10.5.0.1 '"type": "dummy"'
    list two 10.5.0.2 '"type": "dummy"'
    attach one
    attach two
    at one ping -c 1 -W 5 10.5.0.1
    at one ping -c 1 -W 1 10.5.0.2 && return 1
    part
}
a_tap_is_there() {
    before=$(links)
    list one 10.5.0.1 '"type": "tap"'
    list two 10.5.0.2 '"type": "tap", "multiQueue": true'
    attach one
    attach two
    part
}
a_lent_link_comes_home() {
    cable
    before=$(links | sort)
    list one 10.5.0.1 '"type": "host-device", "device": "up0"'
    list two 10.5.0.2 '"type": "host-device", "device": "veth0"'
    attach one
    attach two
    soon at one ping -c 1 -W 1 10.5.0.2
    detach one
    detach two
    is "$(links | sort)" "$before"
    ip link del up0
}
pods_of_one_vlan_of_a_bridge_meet() {
    on='"type": "bridge", "bridge": "br7", "preserveDefaultVlan": false'
    list three 10.5.0.3 "$on, \"vlan\": 200"
    meet "$on, \"vlan\": 100" "$on, \"vlan\": 100"
    attach three
    at one ping -c 1 -W 1 10.5.0.3 && return 1
    detach three
    part
}

# A base, and what joins it: before the C library starts (shim/start), and the whole way.
join="--net=container:base --ipc=container:base --pid=container:base"
namespaces='for kind in net ipc pid; do readlink /proc/PID/ns/$kind; done'
resident() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$1/status"; }
attends() { [ -n "$(child)" ]; }
joins_a_base() {
    shim run -d --name base --net none >/run/id
    base=$(shim inspect base | sed -n 's/^ *"pid": \([0-9]*\).*/\1/p' | sed -n 1p)
    for more in "" "--mnt private"; do
        there=$(sh -c "$(echo "$namespaces" | sed "s/PID/$base/")")
        is "$(shim join $join $more -- sh -c "$(echo "$namespaces" | sed s/PID/self/)")" "$there"
        is "$(shim join $join $more -- cat /proc/1/comm)" "$(cat "/proc/$base/comm")"
        code=0
        shim join $join $more -- sh -c 'exit 7' || code=$?
        is "$code" 7
        code=0
        shim join $join $more -- sh -c 'kill -TERM $$' || code=$?
        is "$code" 143
        shim join $join $more -- sleep 1000 &
        outer=$!
        soon attends
        size=$(resident "$outer")
        # The C library and Rust take more than a megabyte.
        if [ -z "$more" ]; then [ "$size" -lt 300 ]; else [ "$size" -gt 1000 ]; fi || {
            echo "resident with '$more': $size kB"
            return 1
        }
        kill -TERM "$outer"
        code=0
        wait "$outer" || code=$?
        is "$code" 143
    done
    shim rm -f base
    is "$(shim ps -q)" ''
}

try says_its_version
try warns_where_it_is_not_the_first_process
try leaves_on_term
try leaves_on_int
try stays_on_other_signals
try reaps_orphans
try runs_a_command
try passes_signals_on
try reaps_as_an_init
try waits_and_kills
try a_pod_on_a_bridge
try macvlan_pods_meet
try ipvlan_pods_meet
try vlan_pods_meet
try pods_meet_on_a_vlan_that_is_made
try pods_meet_in_a_vrf
try pods_meet_on_a_bond
try a_dummy_has_its_address
try a_tap_is_there
try a_lent_link_comes_home
try pods_of_one_vlan_of_a_bridge_meet
try joins_a_base
