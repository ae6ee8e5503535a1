//! Columns that are made at the flush: positions, constants, keys inherited from
//! the rows above, and named functions. Here they are compiled; `finish` runs them.

use super::join_url::Part;
use super::plan::{TablePlan, no_column};
use crate::error::{Error, Result};
use crate::schema::{Catalogue, Column, Derive, Source, Table};

/// How a column is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Filled while records are read.
    Buffered,
    Position,
    /// By rows path.
    Constant(Vec<Option<String>>),
    /// A column of a table above.
    Inherited {
        table: usize,
        column: usize,
    },
    Function(Function),
}

/// The closed set of named functions. Numbers are columns of the same table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// `copy(column)`.
    Copy(usize),
    /// `duration_seconds(start, end)`.
    DurationSeconds {
        start: usize,
        end: usize,
    },
    /// `join_web_url_thread_id(url)` and the like.
    JoinUrl(Part, usize),
    /// `count(table)`: the rows of a table below this row.
    Count(usize),
    MediaKind(usize),
    /// `quality(kind, packets, jitter, loss, round trip, frame loss, frame rate, loss after FEC)`.
    Quality([usize; 8]),
    PoorReasons([usize; 8]),
    SenderSide(usize),
    /// The end of a stream that sends (or receives).
    End(End),
}

/// A column of one end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The column of this table that says which side sends.
    pub(crate) side: usize,
    pub(crate) receives: bool,
    /// Tables to look in, the nearest first.
    pub(crate) places: Vec<Place>,
}

/// Where the column of an end is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) table: usize,
    /// The caller's and the callee's column.
    pub(crate) columns: [usize; 2],
    /// The columns that say whether the table has that endpoint at all.
    pub(crate) present: Option<[usize; 2]>,
}

/// Compiles how each column of a table is made.
pub(crate) fn compile(catalogue: &Catalogue, number: usize, buffered: &[bool]) -> Result<Vec<Finish>> {
    let table = &catalogue.tables[number];
    let finish = |(at, column): (usize, &Column)| {
        if buffered[at] {
            return Ok(Finish::Buffered);
        }
        Ok(match &column.source {
            Source::Position => Finish::Position,
            Source::Constant => {
                Finish::Constant(table.rows.iter().map(|rows| rows.constants.get(&column.name).cloned()).collect())
            }
            Source::Inherited { table: from, column: name } => inherited(catalogue, from, name)?,
            Source::Derived(derive) => function(catalogue, table, derive)?,
            Source::Value(_) | Source::ExtraJson => Finish::Buffered,
            Source::Program => {
                return Err(Error::config(format!(
                    "the column {} of {} is made by no record",
                    column.name, table.name
                )));
            }
        })
    };
    table.columns.iter().enumerate().map(finish).collect()
}

fn inherited(catalogue: &Catalogue, table: &str, column: &str) -> Result<Finish> {
    let (table, column) = place(catalogue, table, column)?;
    Ok(Finish::Inherited { table, column })
}

fn place(catalogue: &Catalogue, table: &str, column: &str) -> Result<(usize, usize)> {
    let number = table_number(catalogue, table)?;
    let found = &catalogue.tables[number];
    Ok((number, found.column(column).ok_or_else(|| no_column(found, column))?))
}

fn table_number(catalogue: &Catalogue, name: &str) -> Result<usize> {
    let found = catalogue.tables.iter().position(|table| table.name == name);
    found.ok_or_else(|| Error::config(format!("there is no table {name}")))
}

fn function(catalogue: &Catalogue, table: &Table, derive: &Derive) -> Result<Finish> {
    let arguments = &derive.arguments;
    let name = derive.function.as_str();
    let wrong =
        || Error::config(format!("the function {name} of {} does not take {} arguments", table.name, arguments.len()));
    let column = |at: usize| {
        let name = arguments.get(at).ok_or_else(wrong)?;
        table.column(name).ok_or_else(|| no_column(table, name))
    };
    let eight = || -> Result<[usize; 8]> {
        if arguments.len() != 8 {
            return Err(wrong());
        }
        let mut columns = [0; 8];
        for (at, slot) in columns.iter_mut().enumerate() {
            *slot = column(at)?;
        }
        Ok(columns)
    };
    let function = match (name, arguments.as_slice()) {
        ("inherit", [from, column]) => return inherited(catalogue, from, column),
        ("copy", [_]) => Function::Copy(column(0)?),
        ("duration_seconds", [_, _]) => Function::DurationSeconds { start: column(0)?, end: column(1)? },
        ("join_web_url_thread_id", [_]) => Function::JoinUrl(Part::Thread, column(0)?),
        ("join_web_url_organizer_id", [_]) => Function::JoinUrl(Part::Organizer, column(0)?),
        ("join_web_url_tenant_id", [_]) => Function::JoinUrl(Part::Tenant, column(0)?),
        ("count", [below]) => Function::Count(table_number(catalogue, below)?),
        ("media_kind", [_]) => Function::MediaKind(column(0)?),
        ("quality", _) => Function::Quality(eight()?),
        ("poor_reasons", _) => Function::PoorReasons(eight()?),
        ("sender_side", [_]) => Function::SenderSide(column(0)?),
        ("sender" | "receiver", [of, what]) => Function::End(end(catalogue, table, name == "receiver", of, what)?),
        _ => return Err(Error::config(format!("the function {name} with {} arguments is not known", arguments.len()))),
    };
    Ok(Finish::Function(function))
}

/// `sender(endpoint, what)` and `receiver(endpoint, what)` take `<side>_<what>` of
/// the nearest table above that has endpoints; with `network`, `<side>_network_<what>`.
fn end(catalogue: &Catalogue, table: &Table, receives: bool, of: &str, what: &str) -> Result<End> {
    let is_side =
        |column: &Column| matches!(&column.source, Source::Derived(derive) if derive.function == "sender_side");
    let side = table.columns.iter().position(is_side).ok_or_else(|| no_column(table, "that tells who sends"))?;
    let suffix = match of {
        "endpoint" => what.to_owned(),
        "network" => format!("network_{what}"),
        _ => return Err(Error::config(format!("a stream has no {of} at its ends"))),
    };
    let own = catalogue.tables.iter().position(|other| other.name == table.name).unwrap_or_default();
    let mut places = Vec::new();
    for (number, above) in catalogue.tables[..own].iter().enumerate().rev() {
        let columns = SIDES.map(|side| above.column(&format!("{side}_{suffix}")));
        let [Some(caller), Some(callee)] = columns else { continue };
        let present = SIDES.map(|side| {
            let endpoint = above.endpoints.iter().find(|endpoint| endpoint.path == side)?;
            above.column(&endpoint.column)
        });
        let present = match present {
            [Some(caller), Some(callee)] if of == "endpoint" => Some([caller, callee]),
            _ => None,
        };
        places.push(Place { table: number, columns: [caller, callee], present });
    }
    if places.is_empty() {
        return Err(Error::config(format!("no table above {} has a column caller_{suffix}", table.name)));
    }
    Ok(End { side, receives, places })
}

const SIDES: [&str; 2] = ["caller", "callee"];

impl Finish {
    /// Columns of the same table that must be made before.
    fn needs(&self) -> Vec<usize> {
        match self {
            Self::Function(function) => match function {
                Function::Copy(column)
                | Function::JoinUrl(_, column)
                | Function::MediaKind(column)
                | Function::SenderSide(column) => vec![*column],
                Function::DurationSeconds { start, end } => vec![*start, *end],
                Function::Quality(columns) | Function::PoorReasons(columns) => columns.to_vec(),
                Function::End(end) => vec![end.side],
                Function::Count(_) => Vec::new(),
            },
            _ => Vec::new(),
        }
    }
}

/// The order in which the columns of a table can be made.
pub(crate) fn order(table: &Table, finish: &[Finish]) -> Result<Vec<usize>> {
    let mut order: Vec<usize> = Vec::with_capacity(finish.len());
    let mut made = vec![false; finish.len()];
    while order.len() < finish.len() {
        let before = order.len();
        for (at, one) in finish.iter().enumerate() {
            if !made[at] && one.needs().iter().all(|&need| made[need]) {
                made[at] = true;
                order.push(at);
            }
        }
        if order.len() == before {
            return Err(Error::config(format!("derived columns of {} need each other", table.name)));
        }
    }
    Ok(order)
}

/// Checks what needs all tables: that columns are taken from tables above, made
/// before, and that rows counted are below.
pub(crate) fn check(catalogue: &Catalogue, tables: &[TablePlan]) -> Result<()> {
    for (number, table) in tables.iter().enumerate() {
        let wrong = |of: usize, how: &str| {
            Error::config(format!("the table {} is not {how} {}", catalogue.tables[of].name, table.name))
        };
        for (at, one) in table.finish.iter().enumerate() {
            let above: Vec<(usize, usize)> = match one {
                Finish::Inherited { table, column } => vec![(*table, *column)],
                Finish::Function(Function::End(end)) => {
                    let columns = |place: &Place| place.columns.map(|column| (place.table, column));
                    end.places.iter().flat_map(columns).collect()
                }
                Finish::Function(Function::Count(below)) => {
                    if !tables[*below].ancestors.contains(&number) {
                        return Err(wrong(*below, "below"));
                    }
                    continue;
                }
                _ => continue,
            };
            for (of, column) in above {
                if of >= number || !table.ancestors.contains(&of) {
                    return Err(wrong(of, "above"));
                }
                if tables[of].types[column] != table.types[at] {
                    let name = &catalogue.tables[number].columns[at].name;
                    return Err(Error::config(format!(
                        "the column {name} of {} has not the type of its source",
                        table.name
                    )));
                }
            }
        }
    }
    Ok(())
}
