//! Reads the table files that are built in, and expands shapes and identities.

use super::types::{
    Catalogue, Column, Derive, Endpoint, Identity, IdentitySource, Log, Pii, Rows, Source, Table, Type, When,
};
use crate::error::{Error, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

/// Parents before children.
const TABLES: [(&str, &str); 8] = [
    ("calls", include_str!("../../schemas/calls.toml")),
    ("participants", include_str!("../../schemas/participants.toml")),
    ("sessions", include_str!("../../schemas/sessions.toml")),
    ("segments", include_str!("../../schemas/segments.toml")),
    ("media", include_str!("../../schemas/media.toml")),
    ("streams", include_str!("../../schemas/streams.toml")),
    ("trace_route_hops", include_str!("../../schemas/trace_route_hops.toml")),
    ("feedback_tokens", include_str!("../../schemas/feedback_tokens.toml")),
];
/// The tables of Graph's telephony logs.
const LOGS: [(&str, &str); 4] = [
    ("pstn_calls", include_str!("../../schemas/pstn_calls.toml")),
    ("direct_routing_calls", include_str!("../../schemas/direct_routing_calls.toml")),
    ("sms_log", include_str!("../../schemas/sms_log.toml")),
    ("dialout_report", include_str!("../../schemas/dialout_report.toml")),
];
const LEDGER: &str = include_str!("../../schemas/ledger.toml");
const RUNS: &str = include_str!("../../schemas/runs.toml");
const ENUMS: &str = include_str!("../../schemas/enums.toml");
const IDENTITY: &str = include_str!("../../schemas/shapes/identity.toml");
const SHAPES: [(&str, &str); 4] = [
    ("device", include_str!("../../schemas/shapes/device.toml")),
    ("endpoint", include_str!("../../schemas/shapes/endpoint.toml")),
    ("failure", include_str!("../../schemas/shapes/failure.toml")),
    ("network", include_str!("../../schemas/shapes/network.toml")),
];
/// Tables had their first columns in this version.
const FIRST_VERSION: &str = "0.1.0";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    name: String,
    description: String,
    #[serde(default)]
    rows: Vec<RowsFile>,
    #[serde(default)]
    log: Option<Log>,
    #[serde(default)]
    kept: Vec<String>,
    columns: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowsFile {
    path: String,
    #[serde(default)]
    when: Option<String>,
    #[serde(default)]
    constants: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShapeFile {
    columns: Vec<ColumnFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    kinds: Vec<String>,
    fields: Vec<ColumnFile>,
    kind: String,
    source: String,
}

/// An entry of `columns`: a column, a shape or an identity.
#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Shape(ShapeItem),
    Identity(IdentityItem),
    Column(Box<ColumnFile>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShapeItem {
    shape: String,
    prefix: String,
    path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityItem {
    identity: String,
    of: String,
    sources: Vec<IdentitySourceFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentitySourceFile {
    name: String,
    rows: Option<usize>,
    object: Option<String>,
    set: Option<String>,
    outer_id: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnFile {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
    description: String,
    #[serde(default)]
    path: Option<Paths>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    position: bool,
    #[serde(default)]
    constant: bool,
    #[serde(default)]
    function: Option<String>,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default, rename = "enum")]
    enumeration: Option<String>,
    #[serde(default)]
    unit: Option<String>,
    #[serde(default)]
    pii: Option<String>,
    #[serde(default)]
    rule: Option<String>,
    #[serde(default)]
    since: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Many(Vec<String>),
}

/// The texts of the schema files, each with the name of its table or shape.
#[derive(Clone, Debug)]
pub struct Files<'a> {
    /// The record tables, parents before children.
    pub tables: Vec<(&'a str, &'a str)>,
    /// The tables of logs.
    pub logs: Vec<(&'a str, &'a str)>,
    /// The ledger.
    pub ledger: &'a str,
    /// The table of runs.
    pub runs: &'a str,
    /// The members of every enum.
    pub enums: &'a str,
    /// The shape of an identity.
    pub identity: &'a str,
    /// The other shapes.
    pub shapes: Vec<(&'a str, &'a str)>,
}

impl Files<'static> {
    /// The files that are built in.
    #[must_use]
    pub fn embedded() -> Self {
        Self {
            tables: TABLES.to_vec(),
            logs: LOGS.to_vec(),
            ledger: LEDGER,
            runs: RUNS,
            enums: ENUMS,
            identity: IDENTITY,
            shapes: SHAPES.to_vec(),
        }
    }
}

impl Catalogue {
    /// The catalogue of this program.
    ///
    /// # Panics
    /// If the files that are built in contradict each other, which a test rules out.
    #[must_use]
    pub fn embedded() -> &'static Self {
        static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
            Catalogue::from_files(&Files::embedded()).expect("the table files that are built in are consistent")
        });
        &CATALOGUE
    }

    /// The catalogue that `files` describe.
    ///
    /// # Errors
    /// By class configuration, naming the file and what is wrong with it.
    pub fn from_files(files: &Files<'_>) -> Result<Self> {
        let enums: BTreeMap<String, Vec<String>> = parse("enums", files.enums)?;
        let identity: IdentityFile = parse("identity", files.identity)?;
        let mut shapes = BTreeMap::new();
        for (name, text) in &files.shapes {
            shapes.insert(*name, parse::<ShapeFile>(name, text)?);
        }
        let expand = Expand { shapes, identity, enums: &enums };
        let read = |(name, text): &(&str, &str)| {
            let file: TableFile = parse(name, text)?;
            if file.name != *name {
                return Err(Error::config(format!("schemas/{name}.toml describes the table {}", file.name)));
            }
            expand.table(file)
        };
        let tables = files.tables.iter().map(read).collect::<Result<Vec<_>>>()?;
        let logs = files.logs.iter().map(read).collect::<Result<Vec<_>>>()?;
        if let Some(table) = logs.iter().find(|table| table.log.is_none()) {
            return Err(Error::config(format!("{}: a table of logs says which log it is", table.name)));
        }
        let ledger = expand.table(parse("ledger", files.ledger)?)?;
        let runs = expand.table(parse("runs", files.runs)?)?;
        let hash = hash_of(tables.iter().chain([&ledger]));
        // Others, so that a change of these leaves the records alone.
        let (logs_hash, runs_hash) = (hash_of(logs.iter()), hash_of([&runs].into_iter()));
        Ok(Self { tables, ledger, runs, logs, enums, hash, logs_hash, runs_hash })
    }
}

fn parse<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|e| Error::config(format!("the schema file {name}.toml cannot be read")).because(e))
}

struct Expand<'a> {
    shapes: BTreeMap<&'a str, ShapeFile>,
    identity: IdentityFile,
    enums: &'a BTreeMap<String, Vec<String>>,
}

impl Expand<'_> {
    fn table(&self, file: TableFile) -> Result<Table> {
        let name = file.name;
        let mut rows = Vec::new();
        for one in file.rows {
            let when = match one.when.as_deref() {
                None | Some("always") => When::Always,
                Some("if_previous_empty") => When::IfPreviousEmpty,
                Some(other) => return Err(Error::config(format!("{name}: rows cannot be read when {other}"))),
            };
            rows.push(Rows { path: one.path, constants: one.constants, when });
        }
        let mut table =
            Table { name, description: file.description, rows, kept: file.kept, log: file.log, ..Table::default() };
        for item in file.columns {
            self.item(&mut table, item)?;
        }
        check(&table)?;
        Ok(table)
    }

    fn item(&self, table: &mut Table, item: Item) -> Result<()> {
        match item {
            Item::Column(file) => {
                let column = self.column(table, *file)?;
                if let Source::Derived(Derive { function, arguments }) = &column.source
                    && function == "endpoint_kind"
                    && let [path] = arguments.as_slice()
                {
                    table.endpoints.push(Endpoint { path: path.clone(), column: column.name.clone() });
                }
                table.columns.push(column);
            }
            Item::Shape(item) => {
                let shape = self.shapes.get(item.shape.as_str());
                let shape =
                    shape.ok_or_else(|| Error::config(format!("{}: there is no shape {}", table.name, item.shape)))?;
                for file in &shape.columns {
                    let mut file = file.clone();
                    file.name = format!("{}_{}", item.prefix, file.name);
                    file.path = file.path.map(|paths| match paths {
                        Paths::One(path) => Paths::One(join(&item.path, &path)),
                        Paths::Many(paths) => Paths::Many(paths.iter().map(|path| join(&item.path, path)).collect()),
                    });
                    let column = self.column(table, file)?;
                    table.columns.push(column);
                }
            }
            Item::Identity(item) => self.identity(table, item)?,
        }
        Ok(())
    }

    fn column(&self, table: &Table, file: ColumnFile) -> Result<Column> {
        let wrong = |what: &str| Error::config(format!("{}.{}: {what}", table.name, file.name));
        let origins = usize::from(file.path.is_some())
            + usize::from(file.from.is_some())
            + usize::from(file.position)
            + usize::from(file.constant)
            + usize::from(file.function.is_some());
        if origins > 1 {
            return Err(wrong("a column has one origin"));
        }
        if let Some(name) = &file.enumeration
            && !self.enums.contains_key(name)
        {
            return Err(wrong("there is no such enum"));
        }
        let source = match (file.path, file.from, file.function) {
            (Some(Paths::One(path)), ..) => Source::Value(vec![path]),
            (Some(Paths::Many(paths)), ..) => Source::Value(paths),
            (_, Some(from), _) => {
                let (table, column) = from.split_once('.').ok_or_else(|| wrong("from is table.column"))?;
                Source::Inherited { table: table.to_owned(), column: column.to_owned() }
            }
            (.., Some(function)) if function == "extra_json" => Source::ExtraJson,
            (.., Some(function)) => Source::Derived(Derive { function, arguments: file.arguments }),
            _ if file.position => Source::Position,
            _ if file.constant => Source::Constant,
            _ if table.rows.is_empty() => Source::Program,
            _ => return Err(wrong("a column of records has a path, from, position, constant or function")),
        };
        Ok(Column {
            data_type: Type::named(&file.data_type).ok_or_else(|| wrong("there is no such type"))?,
            pii: match file.pii.as_deref() {
                None => None,
                Some(class) => Some(Pii::named(class).ok_or_else(|| wrong("there is no such class of personal data"))?),
            },
            name: file.name,
            source,
            enumeration: file.enumeration,
            unit: file.unit,
            description: file.description,
            rule: file.rule,
            since: file.since.unwrap_or_else(|| FIRST_VERSION.to_owned()),
        })
    }

    fn identity(&self, table: &mut Table, item: IdentityItem) -> Result<()> {
        let IdentityItem { identity: prefix, of, sources } = item;
        let text = |name: &str, function: &str, description: &str| Column {
            name: format!("{prefix}_{name}"),
            data_type: Type::String,
            source: Source::Derived(Derive { function: function.to_owned(), arguments: vec![prefix.clone()] }),
            enumeration: None,
            unit: None,
            description: format!("Of {of}: {}", lower_first(description)),
            pii: None,
            rule: None,
            since: FIRST_VERSION.to_owned(),
        };
        table.columns.push(text("kind", "identity_kind", &self.identity.kind));
        for field in &self.identity.fields {
            let Some(Paths::One(member)) = &field.path else {
                return Err(Error::config(format!("the field {} of the identity shape has no path", field.name)));
            };
            let mut paths = Vec::new();
            for source in &sources {
                if let Some(object) = &source.object {
                    paths.push(join(object, member));
                }
                if let Some(set) = &source.set {
                    paths.extend(self.identity.kinds.iter().map(|kind| join(&join(set, kind), member)));
                }
                if let Some(outer) = source.outer_id.as_ref().filter(|_| member == "id") {
                    paths.push(outer.clone());
                }
            }
            let file = ColumnFile {
                name: format!("{prefix}_{}", field.name),
                description: format!("Of {of}: {}", lower_first(&field.description)),
                path: Some(Paths::Many(paths)),
                ..field.clone()
            };
            let column = self.column(table, file)?;
            table.columns.push(column);
        }
        table.columns.push(text("source", "identity_source", &self.identity.source));
        let source = |file: IdentitySourceFile| IdentitySource {
            name: file.name,
            rows: file.rows,
            object: file.object,
            set: file.set,
            outer_id: file.outer_id,
        };
        table.identities.push(Identity { prefix, sources: sources.into_iter().map(source).collect() });
        Ok(())
    }
}

fn join(path: &str, member: &str) -> String {
    if path.is_empty() { member.to_owned() } else { format!("{path}.{member}") }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

fn check(table: &Table) -> Result<()> {
    let mut names = HashSet::new();
    for column in &table.columns {
        let name = &column.name;
        let wrong = |what: &str| Error::config(format!("{}.{name}: {what}", table.name));
        if !names.insert(name) {
            return Err(wrong("the name is used twice"));
        }
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(legal) || name.contains("__") {
            return Err(wrong("the name is not snake_case"));
        }
        if !column.description.ends_with('.') || column.description.len() < 8 {
            return Err(wrong("the description is no sentence"));
        }
    }
    Ok(())
}

/// Over all that decides the layout and the contents of the files, spelt out so
/// that no renaming within the program changes it.
fn hash_of<'a>(tables: impl Iterator<Item = &'a Table>) -> String {
    let mut hasher = Sha256::new();
    let mut line = |parts: &[&str]| hasher.update(parts.join("\u{1f}") + "\n");
    for table in tables {
        line(&["table", &table.name]);
        for rows in &table.rows {
            let constants: Vec<String> = rows.constants.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let when = if rows.when == When::Always { "always" } else { "if_previous_empty" };
            line(&["rows", &rows.path, when, &constants.join(",")]);
        }
        if let Some(log) = &table.log {
            line(&["log", &log.key.join(" "), &log.start]);
        }
        for path in &table.kept {
            line(&["kept", path]);
        }
        for source in table.identities.iter().flat_map(|identity| &identity.sources) {
            let rows = source.rows.map(|rows| rows.to_string()).unwrap_or_default();
            let text = |path: &Option<String>| path.clone().unwrap_or_else(|| "-".to_owned());
            line(&[
                "identity",
                &source.name,
                &rows,
                &text(&source.object),
                &text(&source.set),
                &text(&source.outer_id),
            ]);
        }
        for column in &table.columns {
            line(&["column", &column.name, column.data_type.name(), &origin(&column.source)]);
        }
    }
    crate::files::hex(&hasher.finalize())
}

fn origin(source: &Source) -> String {
    match source {
        Source::Value(paths) => format!("path {}", paths.join(" ")),
        Source::Inherited { table, column } => format!("from {table}.{column}"),
        Source::Position => "position".to_owned(),
        Source::Constant => "constant".to_owned(),
        Source::ExtraJson => "extra_json".to_owned(),
        Source::Derived(derive) => format!("{}({})", derive.function, derive.arguments.join(" ")),
        Source::Program => "program".to_owned(),
    }
}
