//! Text in, token stream and batches out.
//!
//! A [`Config`] says which text a split is read from and which tokenizer encodes it.
//! [`prepare`] makes the split's tokens once, in parallel, and keeps them in a
//! content-addressed [`Cache`]; the [`TokenStream`] it returns is memory-mapped.
//! [`Order`] says which rows of the stream make a batch, as a pure function of the step.
//!
//! What the tokens depend on is [`identity()`]: contents and revisions, never names or paths.
//! Documents are encoded one at a time, without special tokens, and appended in file order,
//! so the stream does not depend on thread count, batch size or cache state.
//!
//! | file | what |
//! | --- | --- |
//! | `config` | what a split is made of |
//! | `identity` | what its tokens depend on |
//! | `source` | documents: from files, the hub, or generated ([`synthetic`]) |
//! | `format`, `read`, `lines`, `parquet` | the documents of one file |
//! | `hub` | files of the hub: fetched, resumed, verified |
//! | `tokenizer`, `bpe` | documents to ids; training a byte-level BPE |
//! | `find_tokenizer` | the tokenizer of tokens that were made before |
//! | `cache`, `entry`, `stream` | ids on disk: made once, verified, memory-mapped |
//! | `archive` | tokens as one file, to another machine |
//! | `overlap` | validation documents that are training documents too |
//! | `order` | rows and batches |

mod archive;
mod bpe;
mod cache;
mod config;
mod entry;
mod error;
mod find_tokenizer;
mod format;
mod hub;
mod identity;
mod lines;
mod order;
mod overlap;
mod parquet;
mod prepare;
mod progress;
mod read;
mod source;
mod stream;
pub mod synthetic;
mod tokenizer;

pub use archive::{Imported, Moved, export, import};
pub use cache::Cache;
pub use config::{Config, Packing, Source, Split, SplitKind, Tokenizer};
pub use error::{Error, ErrorKind};
pub use find_tokenizer::{FoundTokenizer, find_tokenizer};
pub use hub::{HubStatus, ServerStatus, hub_status, without_user};
pub use identity::{ContentHashes, identity};
pub use order::{Order, OrderKind};
pub use overlap::{Overlap, overlap};
pub use prepare::{Pins, TokenInfo, cached, prepare};
pub use progress::{NoProgress, Progress};
pub use stream::TokenStream;
pub use tokenizer::{Encoder, tokenizer_vocab_size};

/// The shared data folder, or `None`, said aloud, where it is missing.
#[cfg(test)]
fn tests_data() -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("XP_TEST_DATA").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        Into::into,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: {} is not there", folder.display());
    None
}
