//! How many posts `callrec listen` takes: each notification a post of its own, on
//! many connections, each answered when its line is on the disk.
//!
//! `cargo bench --bench listen` prints Markdown. `CALLREC_BENCH_RATE` (posts per
//! second), `CALLREC_BENCH_SECONDS`, `CALLREC_BENCH_CONNECTIONS` and
//! `CALLREC_BENCH_DIRECTORY` (whose disk is measured) can be set. Ends with 1 if a
//! post was lost.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../tests/support/certificate.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with the tests")]
mod certificate;
#[path = "../tests/support/listening.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with the tests")]
mod listening;
#[path = "support/process.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with other benches")]
mod process;

use certificate::Certificate;
use listening::{Listening, Reader, STATE, call_id, command, configure, notification, post};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// What one connection has seen: the ids and the times of what was answered with
/// 202, and how many were answered otherwise.
type Seen = (Vec<(String, Duration)>, u64);

fn main() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (rate, seconds) = (number("CALLREC_BENCH_RATE", 2000), number("CALLREC_BENCH_SECONDS", 20));
    let connections = number("CALLREC_BENCH_CONNECTIONS", 64);
    let home = std::env::var_os("CALLREC_BENCH_DIRECTORY")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    println!("\n## Taking notifications\n");
    println!(
        "One notification a post, {connections} connections that stay open, client and listener on the same machine. With a rate, times"
    );
    println!("count from when a post was due, whether or not its connection was free.\n");
    println!(
        "| | due/s | answered with 202 | other answers | per second | p50 ms | p99 ms | longest ms | fsyncs/s | posts per fsync | listener CPU s per 1,000 posts | not in the log |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let mut lost = 0;
    for (is_tls, rate) in [(false, Some(rate)), (true, Some(rate)), (false, None)] {
        lost += measure(&home, is_tls, rate, seconds, connections);
    }
    println!();
    if lost > 0 {
        eprintln!("{lost} posts were answered with 202 and are not in the log");
        std::process::exit(1);
    }
}

/// Prints a row; the number of posts that were lost.
fn measure(home: &Path, is_tls: bool, rate: Option<u64>, seconds: u64, connections: u64) -> usize {
    let directory = tempfile::tempdir_in(home).unwrap();
    let certificate = is_tls.then(|| Certificate::write(directory.path()));
    let more = if is_tls { "tls_certificate = \"server.pem\"\ntls_key = \"server.key\"\n" } else { "" };
    let config = configure(directory.path(), &format!("metrics_address = \"127.0.0.1:0\"\n{more}"));
    let listening = Listening::start(command(env!("CARGO_BIN_EXE_callrec"), &config));
    let client = certificate.map(|certificate| client(&certificate));
    let wires: Vec<_> = (0..connections).map(|_| connect(listening.address, client.clone())).collect();
    let (syncs, cpu) = (listening.metric("callrec_listen_fsyncs_total"), process::cpu(listening.child.id()));
    let begin = Instant::now() + Duration::from_millis(100);
    let end = begin + Duration::from_secs(seconds);
    let clients: Vec<_> = wires
        .into_iter()
        .enumerate()
        .map(|(number, wire)| std::thread::spawn(move || on_one(wire, number as u64, connections, rate, begin, end)))
        .collect();
    let seen: Vec<Seen> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let elapsed = begin.elapsed().as_secs_f64();
    let (syncs, cpu) =
        (listening.metric("callrec_listen_fsyncs_total") - syncs, process::cpu(listening.child.id()) - cpu);
    assert_eq!(listening.stop().0, Some(143));
    let read: BTreeSet<String> = Reader::new(directory.path()).ids().into_iter().collect();
    let others: u64 = seen.iter().map(|(_, others)| others).sum();
    let answered: Vec<_> = seen.into_iter().flat_map(|(answered, _)| answered).collect();
    let lost = answered.iter().filter(|(id, _)| !read.contains(id)).count();
    let mut times: Vec<f64> = answered.iter().map(|(_, time)| time.as_secs_f64() * 1000.0).collect();
    times.sort_by(f64::total_cmp);
    let part = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    let posts = answered.len() as f64;
    println!(
        "| {}{} | {} | {} | {others} | {:.0} | {:.1} | {:.1} | {:.1} | {:.0} | {:.1} | {:.3} | {lost} |",
        if is_tls { "https" } else { "http" },
        if rate.is_none() { ", as fast as it goes" } else { "" },
        rate.map_or_else(|| "–".to_owned(), |rate| rate.to_string()),
        answered.len(),
        posts / elapsed,
        part(0.5),
        part(0.99),
        part(1.0),
        syncs / elapsed,
        posts / syncs,
        1000.0 * cpu / posts,
    );
    lost
}

/// Posts every `connections`-th post that is due, from the `number`-th on.
fn on_one(
    mut wire: Box<dyn Wire>,
    number: u64,
    connections: u64,
    rate: Option<u64>,
    begin: Instant,
    end: Instant,
) -> Seen {
    let (mut answered, mut others) = (Vec::new(), 0);
    for n in (number..).step_by(connections as usize) {
        let due = rate
            .map_or_else(|| Instant::now().max(begin), |rate| begin + Duration::from_secs_f64(n as f64 / rate as f64));
        if due >= end {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let id = call_id(u32::try_from(n).unwrap());
        match post(&mut wire, &notification(&id, STATE)) {
            Some(202) => answered.push((id, due.elapsed())),
            Some(_) => others += 1,
            None => {
                others += 1;
                break;
            }
        }
    }
    (answered, others)
}

fn client(certificate: &Certificate) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate.root).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

fn connect(address: SocketAddr, client: Option<Arc<ClientConfig>>) -> Box<dyn Wire> {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    let Some(client) = client else { return Box::new(tcp) };
    let name = ServerName::from(address.ip());
    let mut wire = StreamOwned::new(ClientConnection::new(client, name).unwrap(), tcp);
    // The handshake is not measured.
    wire.flush().unwrap();
    while wire.conn.is_handshaking() {
        wire.conn.complete_io(&mut wire.sock).unwrap();
    }
    Box::new(wire)
}
