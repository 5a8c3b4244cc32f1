//! A server for this machine alone, with the headers that isolate the page.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Serves the folder. `plain` leaves out the headers of isolation, as simple hosts do.
pub(crate) fn serve(dist: &Path, port: u16, plain: bool) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("http://localhost:{}/", listener.local_addr()?.port());
    for stream in listener.incoming() {
        let (stream, dist) = (stream?, dist.to_owned());
        // A browser that goes away is no error.
        std::thread::spawn(move || answer(stream, &dist, plain).unwrap_or_default());
    }
    Ok(())
}

fn answer(mut stream: TcpStream, dist: &Path, plain: bool) -> Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or("/");
    let path = path.split(['?', '#']).next().unwrap_or("/");
    let file = file(dist, path);
    let found = file.as_ref().and_then(|file| Some((content_type(file), fs::read(file).ok()?)));
    let Some((content_type, bytes)) = found else {
        stream.write_all(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )?;
        return Ok(());
    };
    let isolation = match plain {
        true => "",
        false => {
            "Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Embedder-Policy: require-corp\r\n"
        }
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Cache-Control: no-cache\r\n{isolation}Connection: close\r\n\r\n",
        bytes.len()
    )?;
    stream.write_all(&bytes)?;
    Ok(())
}

/// The file that is asked for, if it is one of the folder.
fn file(dist: &Path, path: &str) -> Option<PathBuf> {
    let path = path.trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let plain = path.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    let file = dist.join(path);
    (plain && file.is_file()).then_some(file)
}

fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}
