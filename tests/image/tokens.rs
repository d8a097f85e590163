//! A registry that takes tokens alone, and an authority of the test's own that gives them out:
//! signed as Debian's registry checks them (RS256, with the certificate in the header).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::bed::{Registry, done, image, refused};
use super::common::{Kind, scratch, sh, sh_out, world};

/// base64 of keel:secret
const LOGIN: &str = "a2VlbDpzZWNyZXQ=";

/// Reads a request: its first line and its login.
fn request(stream: &TcpStream) -> (String, String, String) {
    let mut lines = BufReader::new(stream);
    let (mut first, mut login, mut length) = (String::new(), String::new(), 0);
    lines.read_line(&mut first).expect("a request");
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).expect("a header");
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        match name.to_lowercase().as_str() {
            "authorization" => login = value.to_owned(),
            "content-length" => length = value.parse().expect("a number"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    std::io::Read::read_exact(&mut lines, &mut body).expect("a body");
    (first, login, String::from_utf8(body).expect("text"))
}

/// Gives a token for what is asked: to who has the password or the identity all of it, to
/// others `pull` alone.
fn authority(address: &str) {
    let listener = TcpListener::bind(address).expect("a port of the world");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (first, login, body) = request(&stream);
            let asked = format!("{first} {body}")
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%2C", ",");
            let scope = asked.split("scope=").nth(1).and_then(|s| s.split(['&', ' ']).next());
            let scope = scope.unwrap_or_default().to_owned();
            let known = login == format!("Basic {LOGIN}")
                || asked.contains("grant_type=refresh_token")
                    && asked.contains("refresh_token=long-lived");
            let wrong = !login.is_empty() && !known;
            let answer = if wrong {
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    .to_owned()
            } else {
                let mut parts = scope.splitn(3, ':');
                let (_, name) = (parts.next(), parts.next().unwrap_or_default());
                let actions = if known { "\"pull\",\"push\"" } else { "\"pull\"" };
                let token = format!("{{\"token\": \"{}\"}}", token(name, actions));
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{token}",
                    token.len()
                )
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

/// A JSON Web Token for a repository.
fn token(name: &str, actions: &str) -> String {
    let claims = format!(
        "{{\"iss\":\"keel\",\"aud\":\"keel-registry\",\"sub\":\"x\",\"nbf\":0,\"iat\":0,\"exp\":4000000000,\
         \"jti\":\"1\",\"access\":[{{\"type\":\"repository\",\"name\":\"{name}\",\"actions\":[{actions}]}}]}}"
    );
    let d = scratch().display();
    sh_out(&format!(
        "url() {{ openssl base64 -A | tr -- +/ -_ | tr -d =; }}
         der=$(openssl x509 -in {d}/authority.crt -outform DER | openssl base64 -A)
         head=$(printf '{{\"typ\":\"JWT\",\"alg\":\"RS256\",\"x5c\":[\"%s\"]}}' \"$der\" | url)
         body=$(printf '%s' '{claims}' | url)
         sign=$(printf '%s.%s' \"$head\" \"$body\" | openssl dgst -sha256 -sign {d}/authority.key | url)
         printf '%s.%s.%s' \"$head\" \"$body\" \"$sign\""
    ))
}

#[test]
#[ignore = "needs root"]
fn a_token_is_got_from_whom_the_registry_names() {
    world(Kind::Root, || {
        let d = scratch().display().to_string();
        sh(&format!(
            "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=keel -days 2 \
             -keyout {d}/authority.key -out {d}/authority.crt 2>/dev/null"
        ));
        authority("127.0.0.1:5009");
        let _registry = Registry::start(
            "127.0.0.1:5000",
            &format!(
                "auth: {{token: {{realm: \"http://127.0.0.1:5009/token\", service: keel-registry, issuer: keel, \
             rootcertbundle: {d}/authority.crt}}}}\n"
            ),
        );
        let name = "127.0.0.1:5000/keel/pause:1";
        let login = scratch().join("config.json");
        let run = |verb: &str| {
            let mut command = image(&[verb, "--plain-http", name]);
            command.env("REGISTRY_AUTH_FILE", &login);
            command
        };
        // Anybody may pull, and is told that more needs a login.
        let said = refused(6, &mut run("push"));
        assert!(said.contains("401 Unauthorized") && said.contains("log in first"), "{said}");
        let with = |entry: &str| {
            fs::write(&login, format!("{{\"auths\": {{\"127.0.0.1:5000\": {entry}}}}}"))
                .expect("a login");
        };
        with("{\"auth\": \"a2VlbDp3cm9uZw==\"}");
        let said = refused(6, &mut run("push"));
        assert!(said.contains("get a token from http://127.0.0.1:5009/token"), "{said}");
        assert!(said.contains("doesn't take the login in"), "{said}");
        with(&format!("{{\"auth\": \"{LOGIN}\"}}"));
        done(&mut run("push"));
        with("{\"identitytoken\": \"long-lived\"}");
        done(&mut run("push"));
        fs::remove_file(&login).expect("a login");
        done(&mut run("inspect"));
    });
}
