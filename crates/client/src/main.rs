//! `ftp-cli`: the command line of [`ftp_client`].

mod cli;

fn main() -> std::process::ExitCode {
    keep_heap();
    cli::main()
}

/// Has the heap keep up to twice this, before anything else is allocated.
const FREED_BYTES: usize = 1024 * 1024;

/// Frees a block larger than any other: after that, glibc keeps twice as much free memory at the heap's end
/// (mallopt(3), `M_MMAP_THRESHOLD`) in place of 128 KiB. Each 256 KiB of TLS records would be given back otherwise and
/// taken again page by page, a tenth of an upload's time.
fn keep_heap() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(FREED_BYTES)));
}
