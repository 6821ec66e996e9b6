//! Where the tests keep what was fetched once.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Names the directory instead of `target/testbed`.
pub const VARIABLE: &str = "AGENT_WRAP_TEST_CACHE";

/// The Maven coordinates of the real controller's war.
pub const HUDSON_ARTIFACT: &str = "org.eclipse.hudson:hudson-war:3.0.0:war";

/// The SHA-256 of that war, in hexadecimal.
pub const HUDSON_SHA256: &str = "22df57a410038328ad229e680ff08962ad13bc7cc6c1374498b779d5be8e2e33";

const HUDSON_FILE: &str = "hudson-war-3.0.0.war";

/// The root of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let testbed = Path::new(env!("CARGO_MANIFEST_DIR"));
    testbed.parent().unwrap_or(testbed).to_path_buf()
}

/// `$AGENT_WRAP_TEST_CACHE`, or `target/testbed` of the workspace. It need not exist yet.
#[must_use]
pub fn directory() -> PathBuf {
    match env::var_os(VARIABLE) {
        Some(named) if !named.is_empty() => PathBuf::from(named),
        _ => workspace().join("target/testbed"),
    }
}

/// Where the real controller's war is, or will be.
#[must_use]
pub fn hudson_war() -> PathBuf {
    directory().join(HUDSON_FILE)
}

/// The store of the whole image, a Debian with java, as podman keeps it; or where it will be.
#[must_use]
pub fn image_store() -> PathBuf {
    directory().join("images")
}

/// The name of that image. Another recipe is another name.
pub const DEBIAN_IMAGE: &str = "localhost/agent-wrap-test-java:17-1";
