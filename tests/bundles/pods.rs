//! A pod of three, a base and two that join it, however they are started.

use super::bed::{Bundle, ENGINES, POD, STAYS, known_to, shim, until};
use super::common::dump::{assert_same_world, dump};
use super::common::{Kind, Ns, neighbour, scratch, sh, sh_any, sh_out, world};

/// A base of shim's, with what infra's annotations say.
fn base() {
    shim("run -d --name base -p 8080:80 --sysctl net.ipv4.ip_unprivileged_port_start=0");
}

/// The web server answers at the published port: from another host, and from this one.
fn published(far: &Ns) {
    let get = "curl -sS --fail --max-time 5 --noproxy '*' http://198.18.0.1:8080/";
    assert!(until(|| sh_any(get).status.success()), "nobody answers at 198.18.0.1:8080");
    for ns in [far, &Ns::host()] {
        assert_eq!(ns.sh_out(get), "the page", "asked from {}", ns.name);
    }
}

fn page(answer: &str) {
    assert!(answer.contains(" 200 OK\r\n"), "{answer}");
    assert!(answer.trim_end().ends_with("\r\n\r\nthe page"), "{answer}");
}

/// pause is process 1, and the web server is seen beside it.
fn together(processes: &str) {
    let lines: Vec<Vec<&str>> =
        processes.lines().map(|line| line.split_whitespace().collect()).collect();
    let first = lines.iter().find(|words| words.first() == Some(&"1")).expect("a process 1");
    assert!(first.join(" ").contains("pause"), "{processes}");
    assert!(processes.contains("httpd -f -p 80"), "{processes}");
}

#[test]
#[ignore = "needs root"]
fn by_a_runtime_alone() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let far = neighbour("far", 0).ns;
            let out = scratch().join("out").display().to_string();
            // A detached container keeps the outputs: a pipe would be waited for.
            let run = |words: &str| sh(&format!("{engine} run {words} >{out} 2>&1"));
            let infra = Bundle::of("infra", "base");
            let before = dump(std::slice::from_ref(&far));
            run(&format!("--detach --bundle {} base", infra.dir.display()));
            let pid = sh_out(&format!("{engine} state base | jq .pid"));
            let web = Bundle::of("web", "web").of_base(&pid);
            let client = Bundle::of("client", "client").of_base(&pid);
            run(&format!("--detach --bundle {} web", web.dir.display()));
            page(&sh_out(&format!("{engine} run --bundle {} client", client.dir.display())));
            published(&far);
            together(&sh_out(&format!("{engine} exec web /busybox ps")));
            for name in ["web", "base"] {
                sh(&format!("{engine} delete --force {name}"));
            }
            assert_eq!(known_to(engine), "");
            assert_same_world(&before, &dump(std::slice::from_ref(&far)), STAYS);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn by_shim_alone() {
    world(Kind::Root, || {
        let far = neighbour("far", 0).ns;
        let www = Bundle::of("web", "web").dir.join("rootfs/www").display().to_string();
        let before = dump(std::slice::from_ref(&far));
        base();
        shim(&format!("join {POD} -d --name web -- busybox httpd -f -p 80 -h {www}"));
        published(&far);
        let ask = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc 127.0.0.1 80";
        page(&sh_out(&format!("{} join {POD} -- sh -c \"{ask}\"", super::bed::SHIM)));
        together(&shim(&format!("join {POD} -- ps -e -o pid,args")));
        assert_eq!(shim("rm -f base"), "base");
        assert_eq!(shim("ps -q"), "");
        assert_same_world(&before, &dump(std::slice::from_ref(&far)), STAYS);
    });
}

#[test]
#[ignore = "needs root"]
fn mixed() {
    // Each runtime in each place.
    for (first, second) in [("runc", "crun"), ("crun", "runc")] {
        world(Kind::Root, || {
            let far = neighbour("far", 0).ns;
            let (web, client) = (Bundle::of("web", "web"), Bundle::of("client", "client"));
            let before = dump(std::slice::from_ref(&far));
            base();
            shim(&format!("join {POD} -d --name web {}", web.words(first)));
            page(&shim(&format!("join {POD} {}", client.words(second))));
            published(&far);
            together(&shim(&format!("join {POD} -- ps -e -o pid,args")));
            assert_eq!(shim("ps -q"), "base\nweb");
            assert_eq!(shim("rm -f base"), "base");
            assert_eq!([known_to(first), known_to(second), shim("ps -q")], ["", "", ""]);
            assert_same_world(&before, &dump(std::slice::from_ref(&far)), STAYS);
        });
    }
}
