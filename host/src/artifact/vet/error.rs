//! Why a file was refused before it was loaded.

use std::path::PathBuf;

use policy_plugin_api::abi::API_MAJOR;

/// Why a file was refused before it was loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VetError {
    /// The file is not there any more.
    #[error("{path}: no such file")]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened or read.
    #[error("{path}: cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// No permission bit lets anybody read the file.
    #[error("{path}: mode {mode:04o} lets nobody read it; make it readable for the host, 0644 for example")]
    NoReadPermission {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Anybody may write to the file, so anybody could run code in the host.
    #[error("{path}: mode {mode:04o} lets everybody write to it; remove the bit with chmod o-w")]
    WorldWritable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link that leads to itself.
    #[error("{path}: symbolic links lead in a circle")]
    SymlinkLoop {
        /// The file.
        path: PathBuf,
    },
    /// A directory, FIFO, socket or device.
    #[error("{path}: is a {kind}, not a regular file")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Nothing in it.
    #[error("{path}: is empty")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// More than the limit.
    #[error("{path}: has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The file changed while it was read, or keeps changing.
    #[error("{path}: keeps changing ({what}); it is looked at again once it is still")]
    StillChanging {
        /// The file.
        path: PathBuf,
        /// What was seen.
        what: String,
    },
    /// Not a library at all.
    #[error("{path}: is not a shared library: {reason}")]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        reason: String,
    },
    /// A library that ends too early.
    #[error("{path}: is cut off: {reason}")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A library for another machine.
    #[error("{path}: is for {found}, this host runs on {expected}")]
    WrongArchitecture {
        /// The file.
        path: PathBuf,
        /// What the file is for.
        found: String,
        /// What this host is.
        expected: String,
    },
    /// A library, but not a policy plugin.
    #[error("{path}: exports no policy plugin ({reason}); a plugin uses policy_plugin_api::export_policy!")]
    NoRootModule {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A plugin for another major version of the API.
    #[error(
        "{path}: {package} {version} was built for plugin API {found_major}.{found_minor}, and this host loads {API_MAJOR}.x only: set policy-plugin-api to version {API_MAJOR} in its Cargo.toml, build it again, and put the new file in its place"
    )]
    ApiVersion {
        /// The file.
        path: PathBuf,
        /// The plugin's package.
        package: String,
        /// The plugin's version.
        version: String,
        /// The plugin's API version.
        found_major: u32,
        /// The plugin's API version.
        found_minor: u32,
    },
    /// A private copy of an earlier host has other bytes than its name says.
    #[error("{path}: is not the copy that its name says; put the library into the plugin directory again")]
    CopyChanged {
        /// The copy.
        path: PathBuf,
    },
    /// A plugin whose panics end the process instead of unwinding.
    #[error(
        "{path}: is built with panic = \"abort\": its first panic would end the host; remove that from the profile in Cargo.toml (and -C panic=abort from RUSTFLAGS), and build it again"
    )]
    PanicAborts {
        /// The file.
        path: PathBuf,
    },
    /// The private copy cannot be written.
    #[error("{path}: cannot be staged in {staging}")]
    Staging {
        /// The file.
        path: PathBuf,
        /// The host's staging directory.
        staging: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// The code of [`VetError::ApiVersion`].
pub(crate) const OTHER_API: &str = "api-version-mismatch";

impl VetError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gone { .. } => "no-such-file",
            Self::Unreadable { .. } | Self::NoReadPermission { .. } => "unreadable",
            Self::WorldWritable { .. } => "world-writable",
            Self::SymlinkLoop { .. } => "symlink-loop",
            Self::NotAFile { .. } => "not-a-regular-file",
            Self::Empty { .. } => "empty-file",
            Self::TooLarge { .. } => "too-large",
            Self::StillChanging { .. } => "still-changing",
            Self::NotALibrary { .. } => "not-a-library",
            Self::Truncated { .. } => "truncated-library",
            Self::WrongArchitecture { .. } => "wrong-architecture",
            Self::NoRootModule { .. } => "no-root-module",
            Self::PanicAborts { .. } => "panic-abort",
            Self::ApiVersion { .. } => OTHER_API,
            Self::CopyChanged { .. } => "copy-changed",
            Self::Staging { .. } => "staging-failed",
        }
    }
}
