//! The flush: buffers become arrays, keys are inherited from the rows above, and
//! the named functions run over whole columns.

use super::columns::{broken, list_item};
use super::derive::{End, Finish, Function};
use super::join_url;
use super::plan::{Plan, TablePlan};
use super::quality::{self, Metrics, Verdict};
use super::rows::{Buffers, NONE, TableRows};
use crate::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, ListBuilder, PrimitiveArray, RecordBatch,
    StringArray, StringBuilder, UInt32Array, new_null_array,
};
use crate::arrow::compute::{interleave, take};
use crate::arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int64Type, TimestampMicrosecondType};
use crate::error::{Class, Error, Result};
use crate::schema::Type;
use std::sync::Arc;

/// One batch per table; the buffers are empty after.
pub(crate) fn batches(plan: &Plan, buffers: &mut Buffers) -> Result<Vec<RecordBatch>> {
    let mut made: Vec<Vec<ArrayRef>> = Vec::with_capacity(plan.tables.len());
    for number in 0..plan.tables.len() {
        let columns = table(plan, buffers, number, &made)?;
        made.push(columns);
    }
    let mut batches = Vec::with_capacity(made.len());
    for ((description, rows), mut columns) in std::iter::zip(std::iter::zip(&plan.tables, &buffers.tables), made) {
        if let Some(order) = order(rows) {
            for column in &mut columns {
                *column = take(column, &order, None).map_err(broken)?;
            }
        }
        batches.push(RecordBatch::try_new(Arc::clone(&description.schema), columns).map_err(broken)?);
    }
    let none = vec![0; buffers.tables.len()];
    buffers.roll_back(&none);
    Ok(batches)
}

/// Whether every column is made of the type that it has.
///
/// # Errors
/// Of class config, naming the column.
pub(crate) fn check(plan: &Plan) -> Result<()> {
    let mut buffers = Buffers::new(plan);
    let mut made: Vec<Vec<ArrayRef>> = Vec::with_capacity(plan.tables.len());
    for (number, description) in plan.tables.iter().enumerate() {
        let columns = table(plan, &mut buffers, number, &made)?;
        for (field, column) in description.schema.fields().iter().zip(&columns) {
            let (wanted, given) = (field.data_type(), column.data_type());
            if wanted != given {
                let column = field.name();
                return Err(Error::config(format!(
                    "{}.{column}: its source gives {given}, not {wanted}",
                    description.name
                )));
            }
        }
        made.push(columns);
    }
    Ok(())
}

/// The order of rows that came by several paths: by the rows above, then by path;
/// none if they stand so already.
fn order(rows: &TableRows) -> Option<UInt32Array> {
    // A row that an ancestor does not have comes before those that it has.
    let key = |row: usize| {
        let above = rows.ancestors.iter().map(move |above| above[row].wrapping_add(1));
        above.chain([u32::from(rows.numbers[row])])
    };
    let sorted = (1..rows.rows).all(|row| key(row - 1).le(key(row)));
    if sorted {
        return None;
    }
    let mut order: Vec<usize> = (0..rows.rows).collect();
    order.sort_by(|&a, &b| key(a).cmp(key(b)));
    Some(order.into_iter().map(|row| u32::try_from(row).unwrap_or(NONE)).collect::<Vec<_>>().into())
}

fn table(plan: &Plan, buffers: &mut Buffers, number: usize, made: &[Vec<ArrayRef>]) -> Result<Vec<ArrayRef>> {
    let description = &plan.tables[number];
    let mut columns: Vec<Option<ArrayRef>> = vec![None; description.types.len()];
    for &at in &description.order {
        let data_type = description.types[at];
        let rows = buffers.tables[number].rows;
        let array = match &description.finish[at] {
            Finish::Buffered => buffers.tables[number].columns[at].finish(rows)?,
            Finish::Position => Some(positions(&buffers.tables[number].positions, data_type)),
            Finish::Constant(values) => {
                let numbers = &buffers.tables[number].numbers;
                let value = |number: &u8| values.get(usize::from(*number)).and_then(Option::as_deref);
                Some(Arc::new(numbers.iter().map(value).collect::<StringArray>()) as ArrayRef)
            }
            Finish::Inherited { table, column } => {
                let above = above(description, &buffers.tables[number], *table);
                Some(take(&made[*table][*column], &above, None).map_err(broken)?)
            }
            Finish::Function(function) => Some(run(function, plan, buffers, number, made, &columns)?),
        };
        let array = array.unwrap_or_else(|| new_null_array(&data_type.arrow(), rows));
        columns[at] = Some(array);
    }
    columns.into_iter().map(|column| column.ok_or_else(not_made)).collect()
}

fn not_made() -> Error {
    Error::new(Class::Config, "a column is used before it is made")
}

/// For each row, the row of a table above it, or null.
fn above(description: &TablePlan, rows: &TableRows, table: usize) -> UInt32Array {
    match description.ancestors.iter().position(|&ancestor| ancestor == table) {
        Some(at) => rows.ancestors[at].iter().map(|&row| (row != NONE).then_some(row)).collect(),
        None => UInt32Array::new_null(rows.rows),
    }
}

fn positions(positions: &[u32], data_type: Type) -> ArrayRef {
    if data_type == Type::Int64 {
        return Arc::new(Int64Array::from_iter_values(positions.iter().map(|&position| i64::from(position))));
    }
    Arc::new(Int32Array::from_iter_values(
        positions.iter().map(|&position| i32::try_from(position).unwrap_or(i32::MAX)),
    ))
}

fn run(
    function: &Function,
    plan: &Plan,
    buffers: &Buffers,
    number: usize,
    made: &[Vec<ArrayRef>],
    columns: &[Option<ArrayRef>],
) -> Result<ArrayRef> {
    let column = |at: usize| columns[at].as_ref().ok_or_else(not_made);
    let rows = buffers.tables[number].rows;
    Ok(match function {
        Function::Copy(from) => Arc::clone(column(*from)?),
        Function::DurationSeconds { start, end } => {
            let (start, end) = (
                numbers::<TimestampMicrosecondType>(column(*start)?)?,
                numbers::<TimestampMicrosecondType>(column(*end)?)?,
            );
            let seconds = |(start, end): (Option<i64>, Option<i64>)| Some((end? - start?) as f64 / 1e6);
            Arc::new(std::iter::zip(start, end).map(seconds).collect::<Float64Array>())
        }
        Function::JoinUrl(part, from) => {
            let urls = texts(column(*from)?)?;
            Arc::new(urls.iter().map(|url| join_url::part(url?, *part)).collect::<StringArray>())
        }
        Function::Count(below) => {
            let mut counts = vec![0_i32; rows];
            for row in above(&plan.tables[*below], &buffers.tables[*below], number).iter().flatten() {
                counts[row as usize] += 1;
            }
            Arc::new(Int32Array::from(counts))
        }
        Function::MediaKind(from) => {
            let kinds = texts(column(*from)?)?.iter().map(|label| label.map(quality::media_kind));
            Arc::new(kinds.collect::<StringArray>())
        }
        Function::Quality(of) => {
            let verdicts = verdicts(of.map(column), rows)?;
            Arc::new(
                verdicts.iter().map(|verdict| verdict.as_ref().map(|verdict| verdict.quality)).collect::<StringArray>(),
            )
        }
        Function::PoorReasons(of) => {
            let mut lists = ListBuilder::new(StringBuilder::new()).with_field(list_item());
            for verdict in verdicts(of.map(column), rows)? {
                lists.append_option(verdict.map(|verdict| verdict.reasons.into_iter().map(Some)));
            }
            Arc::new(lists.finish())
        }
        Function::SenderSide(from) => {
            let side = |direction| match direction {
                Some("callerToCallee") => Some("caller"),
                Some("calleeToCaller") => Some("callee"),
                _ => None,
            };
            Arc::new(texts(column(*from)?)?.iter().map(side).collect::<StringArray>())
        }
        Function::End(end) => ends(end, plan, buffers, number, made, texts(column(end.side)?)?)?,
    })
}

fn texts(array: &ArrayRef) -> Result<&StringArray> {
    array.as_string_opt::<i32>().ok_or_else(|| Error::config("a named function is given a column that is no text"))
}

fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<&PrimitiveArray<T>> {
    array.as_primitive_opt::<T>().ok_or_else(|| Error::config("a named function is given a column of another type"))
}

fn verdicts(of: [Result<&ArrayRef>; 8], rows: usize) -> Result<Vec<Option<Verdict>>> {
    let [kind, packets, jitter, loss, round_trip, frame_loss, frame_rate, post_fec] = of;
    let (kind, packets) = (texts(kind?)?, numbers::<Int64Type>(packets?)?);
    let float = |array: Result<_>| numbers::<Float64Type>(array?);
    let (jitter, loss, round_trip) = (float(jitter)?, float(loss)?, float(round_trip)?);
    let (frame_loss, frame_rate, post_fec) = (float(frame_loss)?, float(frame_rate)?, float(post_fec)?);
    let at = |array: &Float64Array, row: usize| array.is_valid(row).then(|| array.value(row));
    let verdict = |row: usize| {
        let metrics = Metrics {
            packet_utilization: packets.is_valid(row).then(|| packets.value(row)),
            jitter: at(jitter, row),
            packet_loss: at(loss, row),
            round_trip: at(round_trip, row),
            frame_loss: at(frame_loss, row),
            frame_rate: at(frame_rate, row),
            post_fec_packet_loss: at(post_fec, row),
        };
        quality::verdict(kind.is_valid(row).then(|| kind.value(row)), &metrics)
    };
    Ok((0..rows).map(verdict).collect())
}

/// The column of the end that sends or receives, from the nearest row above that
/// has that endpoint. A row is passed over for the one above it only if it is the
/// only one there.
fn ends(
    end: &End,
    plan: &Plan,
    buffers: &Buffers,
    number: usize,
    made: &[Vec<ArrayRef>],
    sides: &StringArray,
) -> Result<ArrayRef> {
    let Some(first) = end.places.first() else { return Err(not_made()) };
    let data_type = made[first.table][first.columns[0]].data_type();
    let mut sources: Vec<ArrayRef> = vec![new_null_array(data_type, 1)];
    let mut rows_above = Vec::new();
    let mut siblings: Vec<Vec<u32>> = Vec::new();
    for place in &end.places {
        sources.extend(place.columns.iter().map(|&column| Arc::clone(&made[place.table][column])));
        rows_above.push(above(&plan.tables[number], &buffers.tables[number], place.table));
        siblings.push(vec![0; buffers.tables[place.table].rows]);
    }
    // How many rows of the nearer place each row of the farther one has.
    for (at, pair) in end.places.windows(2).enumerate() {
        let [near, far] = pair else { continue };
        for row in above(&plan.tables[near.table], &buffers.tables[near.table], far.table).iter().flatten() {
            siblings[at + 1][row as usize] += 1;
        }
    }
    let choose = |row: usize| -> (usize, usize) {
        if sides.is_null(row) {
            return (0, 0);
        }
        let callee = usize::from((sides.value(row) == "callee") != end.receives);
        for (at, place) in end.places.iter().enumerate() {
            if rows_above[at].is_null(row) {
                return (0, 0);
            }
            let found = rows_above[at].value(row) as usize;
            if at > 0 && siblings[at][found] != 1 {
                return (0, 0);
            }
            if place.present.is_none_or(|present| made[place.table][present[callee]].is_valid(found)) {
                return (1 + 2 * at + callee, found);
            }
        }
        (0, 0)
    };
    let chosen: Vec<_> = (0..sides.len()).map(choose).collect();
    let sources: Vec<&dyn Array> = sources.iter().map(AsRef::as_ref).collect();
    interleave(&sources, &chosen).map_err(broken)
}
