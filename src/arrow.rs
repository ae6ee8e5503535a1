//! What is used of Arrow, under the paths of the crate `arrow`. That crate would
//! bring kernels for arithmetic, order and casts, which no table needs and which
//! take a sixth of the CPU time of a release build.

pub(crate) mod array {
    pub(crate) use arrow_array::builder::*;
    pub(crate) use arrow_array::cast::*;
    pub(crate) use arrow_array::*;
}

pub(crate) mod buffer {
    pub(crate) use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
}

pub(crate) mod compute {
    pub(crate) use arrow_select::coalesce::BatchCoalescer;
    pub(crate) use arrow_select::interleave::interleave;
    pub(crate) use arrow_select::take::take;
}

pub(crate) mod datatypes {
    pub(crate) use arrow_array::types::*;
    pub(crate) use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
}

pub(crate) mod error {
    pub(crate) use arrow_schema::ArrowError;
}
