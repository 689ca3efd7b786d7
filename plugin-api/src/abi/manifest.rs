//! The manifest: who a plugin is, readable from the file without mapping it, so no foreign code runs before a verdict.

/// The exported symbol that holds the manifest.
pub const MANIFEST_SYMBOL: &str = "POLICY_PLUGIN_MANIFEST";
/// The exported symbol that holds the header of the root module.
pub const ROOT_SYMBOL: &str = "POLICY_PLUGIN_ROOT";
/// The size of the manifest in bytes.
pub const MANIFEST_BYTES: usize = 128;

const MAGIC: &[u8; 16] = b"policy-plugin\0\0\x01";
const MAJOR_AT: usize = 16;
const MINOR_AT: usize = 20;
const PACKAGE_AT: usize = 24;
const PACKAGE_BYTES: usize = 64;
const VERSION_AT: usize = PACKAGE_AT + PACKAGE_BYTES;
const VERSION_BYTES: usize = MANIFEST_BYTES - VERSION_AT;

/// The manifest as it stands in the file: magic, API version (two little-endian `u32`), package name, package version
/// (UTF-8, zero padded, cut where too long).
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Manifest(pub [u8; MANIFEST_BYTES]);

impl Manifest {
    /// Writes a manifest; the export macro calls this at compile time.
    #[must_use]
    pub const fn new(package: &str, version: &str) -> Self {
        Self::with_api(package, version, super::API_MAJOR, super::API_MINOR)
    }

    /// As [`Manifest::new`], for another version of the API.
    #[must_use]
    pub const fn with_api(package: &str, version: &str, major: u32, minor: u32) -> Self {
        let mut bytes = [0u8; MANIFEST_BYTES];
        put(&mut bytes, 0, MAGIC, MAGIC.len());
        put(&mut bytes, MAJOR_AT, &major.to_le_bytes(), 4);
        put(&mut bytes, MINOR_AT, &minor.to_le_bytes(), 4);
        put(&mut bytes, PACKAGE_AT, package.as_bytes(), PACKAGE_BYTES);
        put(&mut bytes, VERSION_AT, version.as_bytes(), VERSION_BYTES);
        Self(bytes)
    }

    /// Reads a manifest; `None` when it is not one.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<ManifestInfo> {
        let bytes: &[u8; MANIFEST_BYTES] = bytes.try_into().ok()?;
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let text = |from: usize, to: usize| {
            let field = &bytes[from..to];
            let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
            String::from_utf8_lossy(&field[..end]).into_owned()
        };
        bytes.starts_with(MAGIC).then(|| ManifestInfo {
            api_major: number(MAJOR_AT),
            api_minor: number(MINOR_AT),
            package: text(PACKAGE_AT, VERSION_AT),
            version: text(VERSION_AT, MANIFEST_BYTES),
        })
    }
}

const fn put(bytes: &mut [u8; MANIFEST_BYTES], at: usize, from: &[u8], room: usize) {
    let mut i = 0;
    while i < from.len() && i < room {
        bytes[at + i] = from[i];
        i += 1;
    }
}

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestInfo {
    /// Major version of the plugin API that the plugin was built against.
    pub api_major: u32,
    /// Its minor version.
    pub api_minor: u32,
    /// The plugin's package name.
    pub package: String,
    /// The plugin's package version.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_reads_back() {
        let info = Manifest::parse(&Manifest::with_api("my-policy", "1.2.3", 7, 9).0).unwrap();
        assert_eq!((info.api_major, info.api_minor), (7, 9));
        assert_eq!((info.package.as_str(), info.version.as_str()), ("my-policy", "1.2.3"));
        assert_eq!(Manifest::parse(&[0; MANIFEST_BYTES]), None);
        assert_eq!(Manifest::parse(b"short"), None);
    }
}
