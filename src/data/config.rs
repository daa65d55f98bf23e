//! What a split's token stream is made of: resolved and complete, no defaults left open.

use std::path::PathBuf;

/// The data of an experiment: two splits, one tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where a split without `files` comes from.
    pub source: Source,
    /// Servers that are asked for hub data instead of the hub itself, in this order. Not part of what
    /// the tokens are: every server must send the same bytes.
    pub endpoints: Vec<String>,
    /// Column of `.jsonl` and Parquet files that holds the text, local or from the hub.
    pub text_column: String,
    /// How documents become ids.
    pub tokenizer: Tokenizer,
    /// A string tokenised and appended after every document, on its own.
    pub separator: Option<String>,
    /// How training documents fill rows. Validation documents are always a stream.
    pub packing: Packing,
    /// What is trained on.
    pub train: Split,
    /// What is evaluated on.
    pub validation: Split,
}

impl Config {
    /// The split of a kind.
    pub fn split(&self, kind: SplitKind) -> &Split {
        match kind {
            SplitKind::Train => &self.train,
            SplitKind::Validation => &self.validation,
        }
    }
}

/// Where the text of a split without `files` comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `synthetic:stories`: generated, see [`crate::data::synthetic`].
    Synthetic,
    /// A dataset repository on the hub.
    Hub {
        /// `owner/name`.
        id: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// No dataset: both splits must have `files`.
    Local,
}

/// One split: its text and how much of it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Name of the split in the dataset: `train`, `validation`. Not used with `files`.
    pub name: String,
    /// Which files of the dataset: names and globs, in this order. `None` is those that the split's
    /// name finds.
    pub dataset_files: Option<Vec<String>>,
    /// Local files, read in this order whatever the source is.
    pub files: Option<Vec<PathBuf>>,
    /// Documents are appended until at least so many tokens are held; `None` is all.
    pub max_tokens: Option<u64>,
}

/// How documents fill the rows of the training tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// One after the other; a row begins wherever the one before it ended.
    Stream,
    /// A row begins with a document. What does not fit into the row that a document ends up in is
    /// dropped, its separator too.
    Aligned {
        /// Tokens of a row.
        row: u64,
    },
}

/// How documents become token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tokenizer {
    /// The UTF-8 bytes themselves: 256 ids.
    Bytes,
    /// A byte-level BPE trained on the train split's text.
    TrainBpe {
        /// Ids wanted, at least 256.
        vocab_size: u32,
    },
    /// A `tokenizer.json` file.
    File(PathBuf),
    /// The `tokenizer.json` of a model repository on the hub.
    Hub {
        /// `owner/name`.
        id: String,
        /// Branch, tag or commit.
        revision: String,
    },
}

/// Which of the two splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SplitKind {
    /// What is trained on. Falling short of `max_tokens` is an error.
    Train,
    /// What is evaluated on. `max_tokens` is a bound only.
    Validation,
}

impl SplitKind {
    /// The word for it in specs and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
        }
    }
}
