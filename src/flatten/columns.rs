//! Column buffers that can be cut back, and are handed to Arrow as they are.
//!
//! A column shorter than its table ends in nulls: it pads itself when it is next
//! written, or at the flush.

use crate::arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Float64Array, Int32Array, Int64Array, ListArray, StringArray,
    TimestampMicrosecondArray,
};
use crate::arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use crate::arrow::datatypes::{DataType, FieldRef};
use crate::error::{Class, Error};
use crate::schema::Type;
use std::sync::Arc;

/// The item of a list of texts.
pub(crate) fn list_item() -> FieldRef {
    match Type::StringList.arrow() {
        DataType::List(item) => item,
        _ => unreachable!("a list of texts is a list"),
    }
}

/// Which cells are not null. Those behind the last null are only counted: most
/// cells are valid, and a column without nulls needs no bits.
#[derive(Debug)]
pub(crate) struct Validity {
    bits: BooleanBufferBuilder,
    valid_behind: usize,
}

impl Validity {
    fn new() -> Self {
        Self { bits: BooleanBufferBuilder::new(0), valid_behind: 0 }
    }

    fn len(&self) -> usize {
        self.bits.len() + self.valid_behind
    }

    fn append_valid(&mut self) {
        self.valid_behind += 1;
    }

    fn append_nulls(&mut self, count: usize) {
        if count > 0 {
            self.write_valid();
            self.bits.append_n(count, false);
        }
    }

    fn write_valid(&mut self) {
        self.bits.append_n(std::mem::take(&mut self.valid_behind), true);
    }

    fn is_valid(&self, row: usize) -> bool {
        if row < self.bits.len() { self.bits.get_bit(row) } else { row < self.len() }
    }

    fn truncate(&mut self, len: usize) {
        if len < self.bits.len() {
            self.bits.truncate(len);
        }
        self.valid_behind = self.valid_behind.min(len - self.bits.len());
    }

    fn finish(&mut self) -> Option<NullBuffer> {
        if self.bits.is_empty() {
            self.valid_behind = 0;
            return None;
        }
        self.write_valid();
        let nulls = NullBuffer::new(self.bits.finish());
        (nulls.null_count() > 0).then_some(nulls)
    }
}

/// Texts one after the other.
#[derive(Debug)]
pub(crate) struct Texts {
    ends: Vec<i32>,
    bytes: Vec<u8>,
    valid: Validity,
}

impl Texts {
    fn new() -> Self {
        Self { ends: vec![0], bytes: Vec::new(), valid: Validity::new() }
    }

    fn len(&self) -> usize {
        self.valid.len()
    }

    fn end(&self) -> i32 {
        i32::try_from(self.bytes.len()).expect("a flush comes long before 2 GiB of one column")
    }

    fn pad(&mut self, len: usize) {
        let missing = len - self.len();
        if missing > 0 {
            self.ends.resize(len + 1, self.end());
            self.valid.append_nulls(missing);
        }
    }

    fn push(&mut self, text: Option<&str>) {
        self.bytes.extend_from_slice(text.unwrap_or_default().as_bytes());
        self.ends.push(self.end());
        match text {
            Some(_) => self.valid.append_valid(),
            None => self.valid.append_nulls(1),
        }
    }

    fn get(&self, row: usize) -> Option<&str> {
        if !self.valid.is_valid(row) {
            return None;
        }
        let bounds = |at: usize| usize::try_from(self.ends[at]).unwrap_or_default();
        std::str::from_utf8(&self.bytes[bounds(row)..bounds(row + 1)]).ok()
    }

    fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.ends.truncate(len + 1);
            self.bytes.truncate(usize::try_from(self.ends[len]).unwrap_or_default());
            self.valid.truncate(len);
        }
    }

    fn finish(&mut self) -> Result<StringArray, Error> {
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        let spare = Vec::with_capacity(self.bytes.len());
        let bytes = std::mem::replace(&mut self.bytes, spare);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        StringArray::try_new(offsets, Buffer::from_vec(bytes), self.valid.finish()).map_err(broken)
    }
}

pub(crate) fn broken(error: crate::arrow::error::ArrowError) -> Error {
    Error::new(Class::Config, "the tables of this batch cannot be put together").because(error)
}

/// Numbers of one kind.
#[derive(Debug)]
pub(crate) struct Numbers<T> {
    values: Vec<T>,
    valid: Validity,
}

impl<T: Copy + Default> Numbers<T> {
    fn new() -> Self {
        Self { values: Vec::new(), valid: Validity::new() }
    }

    fn pad(&mut self, len: usize) {
        let missing = len - self.values.len();
        if missing > 0 {
            self.values.resize(len, T::default());
            self.valid.append_nulls(missing);
        }
    }

    fn put(&mut self, row: usize, value: T) {
        self.pad(row);
        self.values.push(value);
        self.valid.append_valid();
    }

    fn truncate(&mut self, len: usize) {
        if len < self.values.len() {
            self.values.truncate(len);
            self.valid.truncate(len);
        }
    }

    fn take(&mut self) -> (Vec<T>, Option<NullBuffer>) {
        let spare = Vec::with_capacity(self.values.len());
        (std::mem::replace(&mut self.values, spare), self.valid.finish())
    }
}

/// The buffer of one column that is filled from the record.
#[derive(Debug)]
pub(crate) enum Buffered {
    /// Inherited or derived: made at the flush.
    None,
    Text(Texts),
    Boolean {
        bits: BooleanBufferBuilder,
        valid: Validity,
    },
    Int32(Numbers<i32>),
    Int64(Numbers<i64>),
    Float(Numbers<f64>),
    Instant(Numbers<i64>),
    TextList {
        ends: Vec<i32>,
        items: Texts,
        valid: Validity,
    },
}

impl Buffered {
    pub(crate) fn new(data_type: Type) -> Self {
        match data_type {
            Type::String => Self::Text(Texts::new()),
            Type::Boolean => Self::Boolean { bits: BooleanBufferBuilder::new(0), valid: Validity::new() },
            Type::Int32 => Self::Int32(Numbers::new()),
            Type::Int64 => Self::Int64(Numbers::new()),
            Type::Float64 | Type::DurationMs => Self::Float(Numbers::new()),
            Type::Timestamp => Self::Instant(Numbers::new()),
            Type::StringList => Self::TextList { ends: vec![0], items: Texts::new(), valid: Validity::new() },
            Type::Decimal | Type::Int64List => Self::None,
        }
    }

    /// Cells written so far; the rest up to the table's rows is null.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Text(texts) => texts.len(),
            Self::Boolean { valid, .. } | Self::TextList { valid, .. } => valid.len(),
            Self::Int32(numbers) => numbers.values.len(),
            Self::Int64(numbers) | Self::Instant(numbers) => numbers.values.len(),
            Self::Float(numbers) => numbers.values.len(),
        }
    }

    /// Bytes of the cells, roughly.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Text(texts) => texts.bytes.len() + 4 * texts.ends.len(),
            Self::Boolean { valid, .. } => valid.len() / 4,
            Self::Int32(numbers) => 4 * numbers.values.len(),
            Self::Int64(numbers) | Self::Instant(numbers) => 8 * numbers.values.len(),
            Self::Float(numbers) => 8 * numbers.values.len(),
            Self::TextList { ends, items, .. } => 4 * ends.len() + items.bytes.len() + 4 * items.ends.len(),
        }
    }

    pub(crate) fn put_text(&mut self, row: usize, text: &str) {
        if let Self::Text(texts) = self {
            texts.pad(row);
            texts.push(Some(text));
        }
    }

    pub(crate) fn put_bool(&mut self, row: usize, value: bool) {
        if let Self::Boolean { bits, valid } = self {
            let missing = row - valid.len();
            bits.append_n(missing, false);
            valid.append_nulls(missing);
            bits.append(value);
            valid.append_valid();
        }
    }

    pub(crate) fn put_integer(&mut self, row: usize, value: i64) -> bool {
        match self {
            Self::Int32(numbers) => match i32::try_from(value) {
                Ok(value) => numbers.put(row, value),
                Err(_) => return false,
            },
            Self::Int64(numbers) | Self::Instant(numbers) => numbers.put(row, value),
            _ => return false,
        }
        true
    }

    pub(crate) fn put_float(&mut self, row: usize, value: f64) {
        if let Self::Float(numbers) = self {
            // Minus zero is written as zero: one of the parsers does not tell them apart.
            numbers.put(row, value + 0.0);
        }
    }

    /// Adds an item to the list that [`Self::close_list`] will end.
    pub(crate) fn add_item(&mut self, text: Option<&str>) {
        if let Self::TextList { items, .. } = self {
            items.push(text);
        }
    }

    /// Ends the list of `row`: all items since the end of the one before.
    pub(crate) fn close_list(&mut self, row: usize) {
        if let Self::TextList { ends, items, valid } = self {
            let before = ends[ends.len() - 1];
            valid.append_nulls(row - valid.len());
            ends.resize(row + 1, before);
            ends.push(i32::try_from(items.len()).expect("a flush comes long before 2 Gi items of one column"));
            valid.append_valid();
        }
    }

    /// The text of a row, or none.
    pub(crate) fn text(&self, row: usize) -> Option<&str> {
        match self {
            Self::Text(texts) => texts.get(row),
            _ => None,
        }
    }

    /// Whether the cell of `row` was written.
    pub(crate) fn is_written(&self, row: usize) -> bool {
        self.len() > row
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        match self {
            Self::None => {}
            Self::Text(texts) => texts.truncate(len),
            Self::Boolean { bits, valid } => {
                if len < valid.len() {
                    bits.truncate(len);
                    valid.truncate(len);
                }
            }
            Self::Int32(numbers) => numbers.truncate(len),
            Self::Int64(numbers) | Self::Instant(numbers) => numbers.truncate(len),
            Self::Float(numbers) => numbers.truncate(len),
            Self::TextList { ends, items, valid } => {
                if len < valid.len() {
                    ends.truncate(len + 1);
                    valid.truncate(len);
                }
                items.truncate(usize::try_from(ends[ends.len() - 1]).unwrap_or_default());
            }
        }
    }

    /// Hands the cells over as an array of `rows`; the buffer is empty after.
    pub(crate) fn finish(&mut self, rows: usize) -> Result<Option<ArrayRef>, Error> {
        Ok(Some(match self {
            Self::None => return Ok(None),
            Self::Text(texts) => {
                texts.pad(rows);
                Arc::new(texts.finish()?)
            }
            Self::Boolean { bits, valid } => {
                let missing = rows - valid.len();
                bits.append_n(missing, false);
                valid.append_nulls(missing);
                let values: BooleanBuffer = bits.finish();
                Arc::new(BooleanArray::new(values, valid.finish()))
            }
            Self::Int32(numbers) => {
                numbers.pad(rows);
                let (values, nulls) = numbers.take();
                Arc::new(Int32Array::new(values.into(), nulls))
            }
            Self::Int64(numbers) => {
                numbers.pad(rows);
                let (values, nulls) = numbers.take();
                Arc::new(Int64Array::new(values.into(), nulls))
            }
            Self::Float(numbers) => {
                numbers.pad(rows);
                let (values, nulls) = numbers.take();
                Arc::new(Float64Array::new(values.into(), nulls))
            }
            Self::Instant(numbers) => {
                numbers.pad(rows);
                let (values, nulls) = numbers.take();
                Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone("UTC"))
            }
            Self::TextList { ends, items, valid } => {
                let before = ends[ends.len() - 1];
                valid.append_nulls(rows - valid.len());
                ends.resize(rows + 1, before);
                let ends = std::mem::replace(ends, vec![0]);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                let list = ListArray::try_new(list_item(), offsets, Arc::new(items.finish()?), valid.finish());
                Arc::new(list.map_err(broken)?)
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Valid,
        Nulls(usize),
        /// To so many hundredths of what is there.
        Truncate(usize),
        Finish,
    }

    proptest! {
        #[test]
        fn validity_is_what_a_list_of_booleans_is(steps in prop::collection::vec(prop_oneof![
            6 => Just(Step::Valid),
            3 => (0_usize..9).prop_map(Step::Nulls),
            1 => (0_usize..=100).prop_map(Step::Truncate),
            1 => Just(Step::Finish),
        ], 0..80)) {
            let (mut validity, mut expected) = (Validity::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Valid => {
                        validity.append_valid();
                        expected.push(true);
                    }
                    Step::Nulls(count) => {
                        validity.append_nulls(count);
                        expected.resize(expected.len() + count, false);
                    }
                    Step::Truncate(part) => {
                        let len = expected.len() * part / 100;
                        validity.truncate(len);
                        expected.truncate(len);
                    }
                    Step::Finish => {
                        let nulls = validity.finish();
                        prop_assert_eq!(nulls.is_none(), expected.iter().all(|&valid| valid));
                        if let Some(nulls) = nulls {
                            prop_assert_eq!(nulls.iter().collect::<Vec<_>>(), std::mem::take(&mut expected));
                        }
                        expected.clear();
                    }
                }
                prop_assert_eq!(validity.len(), expected.len());
                for row in 0..expected.len() + 2 {
                    prop_assert_eq!(validity.is_valid(row), expected.get(row) == Some(&true));
                }
            }
        }
    }
}
