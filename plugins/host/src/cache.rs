//! Compiled modules, kept on disk.
//!
//! What is loaded from here is run as machine code without any further check. So only what this user
//! wrote is loaded: the folder and the file must belong to the user and be writable for nobody else, and
//! neither may be a link. The owner is asked of the open file, whose bytes are then read into memory,
//! so that nothing can be exchanged in between. A file begins with the BLAKE3 of the rest, which tells
//! damaged files, and of all that decides what is in it, which is also its name: the module, the
//! version and settings of the engine, and the processor's features as far as the engine looks at them.

use std::path::{Path, PathBuf};

use wasmtime::{Engine, Module};

/// A folder for compiled modules.
#[derive(Debug, Clone)]
pub struct Cache(PathBuf);

/// Bytes of a hash.
const HASH: usize = 32;
/// Largest compiled module that is read: several times what the largest module becomes.
const MOST: u64 = 256 << 20;

impl Cache {
    /// A cache in that folder, which is made when it is needed.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The compiled form of a module, if it is there and can be trusted.
    pub(crate) fn load(&self, engine: &Engine, wasm: &[u8]) -> Option<Module> {
        let key = key(engine, wasm);
        let bytes = private::read(&self.0, &name(&key))?;
        let (sum, code) = bytes.split_at_checked(HASH)?;
        if sum != sum_of(&key, code) {
            return None;
        }
        // SAFETY: the bytes must be what `Module::serialize` gave, by this version of the engine with
        // these settings. They are from a file that only this user can have written, in a folder of
        // which the same holds; whoever can act as this user needs no cache to run code. That it was
        // gmat that wrote it, for this very module and engine, and that nothing of it is damaged, is
        // in the hash at its front. The engine compares its own version once more.
        #[expect(unsafe_code, reason = "there is no other way to load compiled code")]
        unsafe { Module::deserialize(engine, code) }.ok()
    }

    /// Keeps the compiled form of a module. A failure only means that it is compiled again.
    pub(crate) fn store(&self, engine: &Engine, wasm: &[u8], module: &Module) {
        let Ok(code) = module.serialize() else { return };
        let key = key(engine, wasm);
        let mut bytes = sum_of(&key, &code).to_vec();
        bytes.extend_from_slice(&code);
        private::write(&self.0, &name(&key), &bytes);
    }
}

/// Everything that decides what a compiled module looks like.
fn key(engine: &Engine, wasm: &[u8]) -> [u8; HASH] {
    use std::hash::{Hash as _, Hasher};

    /// Hands everything that is hashed to BLAKE3.
    struct Blake(blake3::Hasher);
    impl Hasher for Blake {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Blake(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.update(env!("CARGO_PKG_VERSION").as_bytes());
    hasher.0.update(blake3::hash(wasm).as_bytes());
    *hasher.0.finalize().as_bytes()
}

fn sum_of(key: &[u8; HASH], code: &[u8]) -> [u8; HASH] {
    *blake3::Hasher::new_keyed(key).update(code).finalize().as_bytes()
}

fn name(key: &[u8; HASH]) -> String {
    format!("{}.compiled", blake3::Hash::from(*key).to_hex())
}

#[cfg(unix)]
mod private {
    //! Files that nobody else can write.

    use std::fs::{DirBuilder, File, Metadata, OpenOptions, rename};
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
    use std::path::Path;

    use rustix::fs::OFlags;

    /// Whether only this user can write.
    fn is_private(metadata: &Metadata) -> bool {
        metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0
    }

    fn flags(flags: OFlags) -> i32 {
        i32::try_from(flags.bits()).unwrap_or_default()
    }

    /// Whether the folder is one, and private. A link is not followed.
    fn is_private_folder(folder: &Path) -> bool {
        let metadata = folder.symlink_metadata();
        metadata.is_ok_and(|metadata| metadata.is_dir() && is_private(&metadata))
    }

    pub(super) fn read(folder: &Path, name: &str) -> Option<Vec<u8>> {
        if !is_private_folder(folder) {
            return None;
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK));
        let file: File = options.open(folder.join(name)).ok()?;
        let metadata = file.metadata().ok()?;
        if !(metadata.is_file() && is_private(&metadata)) {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(super::MOST).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    pub(super) fn write(folder: &Path, name: &str, bytes: &[u8]) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        if made.is_err() || !is_private_folder(folder) {
            return;
        }
        let partial = folder.join(format!("{name}.{}.partial", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).custom_flags(flags(OFlags::NOFOLLOW));
        let written = options.open(&partial).and_then(|mut file| file.write_all(bytes));
        if written.and_then(|()| rename(&partial, folder.join(name))).is_err() {
            let _ = std::fs::remove_file(&partial);
        }
    }
}

#[cfg(not(unix))]
mod private {
    //! Where files have no owner that can be asked for, nothing is kept.

    use std::path::Path;

    pub(super) fn read(_: &Path, _: &str) -> Option<Vec<u8>> {
        None
    }

    pub(super) fn write(_: &Path, _: &str, _: &[u8]) {}
}
