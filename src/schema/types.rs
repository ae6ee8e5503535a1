//! The shape of a loaded catalogue.

use serde::Deserialize;
use std::collections::BTreeMap;

/// All tables, in the order in which they are published: children before
/// `calls`, the ledger last.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// The tables that hold records, parents before children: `calls` first.
    pub tables: Vec<Table>,
    /// The table of where each call id stands. Not made from records.
    pub ledger: Table,
    /// The table of what was run. Not made from records, and in no commit.
    pub runs: Table,
    /// The tables of Graph's telephony logs. Not made from records.
    pub logs: Vec<Table>,
    /// Known members of each enum of Graph, by the enum's name.
    pub enums: BTreeMap<String, Vec<String>>,
    /// SHA-256 in hex over all that decides the layout of the files.
    pub hash: String,
    /// The same over the tables of logs.
    pub logs_hash: String,
    /// The same over the table of runs.
    pub runs_hash: String,
}

/// One table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its name: also the directory's.
    pub name: String,
    /// What a row is, in a sentence.
    pub description: String,
    /// Where in a record its rows come from. Empty for the ledger and the runs.
    pub rows: Vec<Rows>,
    /// The columns in the order of the file.
    pub columns: Vec<Column>,
    /// Identities that are flattened from several places.
    pub identities: Vec<Identity>,
    /// Endpoints whose kind is told from the members that they have.
    pub endpoints: Vec<Endpoint>,
    /// Paths below the row's object, or below the record for `calls`, whose
    /// leaves are kept in `extra_json` by design and are no drift.
    pub kept: Vec<String>,
    /// The log that its rows are served by, of a table of logs.
    pub log: Option<Log>,
}

/// A telephony log of Graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// The function of the collection of call records.
    pub function: String,
    /// The version of Graph that has it.
    pub version: String,
    /// Members that tell its rows apart; where a row has none of them, all that it
    /// holds does.
    pub key: Vec<String>,
    /// The member whose UTC date is the row's partition.
    pub start: String,
    /// Whether its rows have no time, so that it is asked for day by day and the
    /// day is their time, as [`Log::WINDOW`].
    #[serde(default)]
    pub daily: bool,
}

impl Log {
    /// The member that says for which day a row was served.
    pub const WINDOW: &str = "@callrec.window";
}

/// A list in the record whose elements become rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Path from the record's root: `""` (the record), `sessions[]`,
    /// `sessions[].caller.feedback.tokens{}` (the entries of a map).
    pub path: String,
    /// Columns that have one value for all rows of this path, by name.
    pub constants: BTreeMap<String, String>,
    /// When the path is read.
    pub when: When,
}

/// When a rows path is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// For every record.
    #[default]
    Always,
    /// Only if the paths of the same table before it gave no row.
    IfPreviousEmpty,
}

/// One column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name in the file.
    pub name: String,
    /// Its type.
    pub data_type: Type,
    /// Where its values come from.
    pub source: Source,
    /// The enum whose members are known, for a text column that holds one.
    pub enumeration: Option<String>,
    /// The unit of its numbers, such as `ms`.
    pub unit: Option<String>,
    /// What it says, in a sentence.
    pub description: String,
    /// The kind of personal data in it.
    pub pii: Option<Pii>,
    /// The rule by which it is derived, where it has a name.
    pub rule: Option<String>,
    /// The version of the program that had it first.
    pub since: String,
}

/// The closed vocabulary of column types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Text; `""` is null.
    String,
    /// True or false.
    Boolean,
    /// Edm.Int32.
    Int32,
    /// Edm.Int64.
    Int64,
    /// Edm.Single and Edm.Double, as float64.
    Float64,
    /// Edm.Decimal as `decimal128(18,6)`.
    Decimal,
    /// Edm.DateTimeOffset as `timestamp[us, UTC]`; the year 1 is null.
    Timestamp,
    /// Edm.Duration as float64 milliseconds.
    DurationMs,
    /// A small set of texts.
    StringList,
    /// A small set of Edm.Int64. Of no table of records.
    Int64List,
}

/// Where a column's values come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Paths relative to the row's object; the first non-null one is taken.
    /// `x[].id` in a list of texts takes one member of each element. In the
    /// rows of a map `key` and `value` are the entry's.
    /// Columns of an [`Identity`] also are values, with all paths that feed
    /// them, but they are filled by the identity's rule.
    Value(Vec<String>),
    /// A column of a parent table, inherited by every child row.
    Inherited {
        /// The parent table.
        table: String,
        /// Its column.
        column: String,
    },
    /// The position of the row in its list, from 0.
    Position,
    /// A constant of the rows path.
    Constant,
    /// What the record has beside the columns, as one JSON object.
    ExtraJson,
    /// Computed by a named function.
    Derived(Derive),
    /// Written by the program itself (ledger, runs).
    Program,
}

/// A named function and its arguments (column names of the same table unless
/// the function says otherwise).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derive {
    /// The function's name.
    pub function: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// An identity that is flattened to columns `<prefix>_kind`, `_id`,
/// `_display_name`, `_tenant_id`, `_user_principal_name`, `_email`,
/// `_ip_address`, `_application_type`, `_hidden`,
/// `_azure_communication_services_resource_id`, `_odata_type` and `_source`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The prefix without the underscore, such as `caller_identity`.
    pub prefix: String,
    /// The places that it is taken from, best first.
    pub sources: Vec<IdentitySource>,
}

/// One place that an identity is taken from. All paths are relative to the
/// row's object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentitySource {
    /// What `_source` says: the Graph member, such as `associatedIdentity`.
    pub name: String,
    /// Which rows path of the table it belongs to, by number; `None` is all.
    pub rows: Option<usize>,
    /// Path of one plain identity object (`caller.associatedIdentity`).
    pub object: Option<String>,
    /// Path of an identity set, whose members are identities by kind; `""` is
    /// the row's object itself.
    pub set: Option<String>,
    /// Path of the id beside the set, taken when the set's object has none
    /// (`organizer_v2.id`). It has a value column of its own as well.
    pub outer_id: Option<String>,
}

/// An endpoint (`caller`, `callee`) whose kind goes to a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its path, relative to the row's object.
    pub path: String,
    /// The column that says `participant` or `service`.
    pub column: String,
}

/// Classes of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pii {
    /// Names a person: display name, user principal name, e-mail, device owner.
    Name,
    /// Identifies a person or device by a number or id.
    Id,
    /// A network address or place.
    Address,
    /// Free text that a person wrote.
    Text,
    /// A link that holds ids of people.
    Link,
    /// Whatever Graph sent that no column holds.
    Unknown,
}

impl Catalogue {
    /// The record table of that name.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// The table of logs of that name.
    #[must_use]
    pub fn log(&self, name: &str) -> Option<&Table> {
        self.logs.iter().find(|table| table.name == name)
    }
}

impl Table {
    /// The number of the column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}
