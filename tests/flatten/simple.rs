//! A second flattener, over a tree, from the documents: slow and plain.

use crate::cells::{Cell, Row};
use crate::join_link;
use crate::json::Json;
use crate::leaves::{self, BETWEEN, Leaves, below, is_ignored, path_below, steps};
use crate::rebuild::{FIELDS, RecordRows, is_of_identity, is_position};
use crate::values;
use callrec::schema::{Catalogue, Column, Derive, Identity, Source, Table, Type, When};
use std::collections::BTreeMap;

/// One row: its cells, and the leaves that `extra_json` owes.
struct Made<'a> {
    object: &'a Json,
    /// Which rows path, its path in the record, its positions.
    from: usize,
    path: String,
    positions: Vec<i64>,
    key: Option<String>,
    cells: Row,
    extra: Leaves,
}

struct Simple<'a> {
    tables: Vec<Vec<Made<'a>>>,
    /// Leaves that no column holds yet.
    left: Leaves,
}

/// The rows of a record, with the leaves of `extra_json` apart.
pub(crate) fn flatten(record: &Json) -> Vec<Vec<(Row, Leaves)>> {
    let catalogue = Catalogue::embedded();
    let mut simple = Simple { tables: Vec::new(), left: leaves::leaves(record, &[]) };
    for table in &catalogue.tables {
        let mut rows: Vec<Made> = Vec::new();
        for (from, path) in table.rows.iter().enumerate() {
            if path.when == When::Always || rows.is_empty() {
                find(
                    record,
                    &steps(&path.path),
                    &mut (String::new(), Vec::new()),
                    &mut |object, path, positions, key| {
                        rows.push(Made { object, from, path, positions, key, cells: Row::new(), extra: Leaves::new() });
                    },
                );
            }
        }
        for row in &mut rows {
            simple.own_columns(table, row);
        }
        simple.tables.push(rows);
        simple.derived(table);
    }
    simple.counts();
    simple.extras();
    let plain = |rows: Vec<Made>| rows.into_iter().map(|row| (row.cells, row.extra)).collect();
    simple.tables.into_iter().map(plain).collect()
}

type Found<'f, 'a> = dyn FnMut(&'a Json, String, Vec<i64>, Option<String>) + 'f;

fn find<'a>(json: &'a Json, path: &[String], at: &mut (String, Vec<i64>), found: &mut Found<'_, 'a>) {
    let Some((step, rest)) = path.split_first() else {
        if json.is_object() {
            found(json, at.0.clone(), at.1.clone(), None);
        }
        return;
    };
    match step.as_str() {
        "[]" => {
            for (position, element) in json.elements().iter().enumerate() {
                let mut inner = (below(&at.0, &format!("#{position}")), at.1.clone());
                inner.1.push(position as i64);
                find(element, rest, &mut inner, found);
            }
        }
        "{}" => {
            for (name, value) in json.members() {
                let named = !name.is_empty() && !name.contains(crate::json::HALF) && !name.contains("@odata.");
                if named && !value.is_vacant() {
                    found(value, below(&at.0, name), at.1.clone(), Some(name.clone()));
                }
            }
        }
        name => {
            if let Some(value) = json.get(name) {
                find(value, rest, &mut (below(&at.0, name), at.1.clone()), found);
            }
        }
    }
}

fn get<'a>(json: &'a Json, path: &[String]) -> Option<&'a Json> {
    path.iter().try_fold(json, |json, step| json.get(step))
}

/// The cell of a scalar; none for null and for what does not fit.
fn cell(json: &Json, data_type: Type) -> Option<Cell> {
    match (data_type, json) {
        (Type::String, _) => json.text().filter(|text| !text.is_empty()).map(|text| Cell::Text(text.to_owned())),
        (Type::Boolean, Json::Bool(value)) => Some(Cell::Bool(*value)),
        (Type::Int32, Json::Number(raw)) => {
            values::integer(raw).filter(|&value| i32::try_from(value).is_ok()).map(Cell::Integer)
        }
        (Type::Int64, Json::Number(raw)) => values::integer(raw).map(Cell::Integer),
        (Type::Float64, Json::Number(raw)) => values::float(raw).map(|value| Cell::Float(value.to_bits())),
        (Type::Timestamp, _) => {
            values::instant(json.text()?).filter(|&micros| micros != values::YEAR_ONE).map(Cell::Instant)
        }
        (Type::DurationMs, _) => values::duration_ms(json.text()?).map(|ms| Cell::Float(ms.to_bits())),
        (Type::StringList, Json::List(elements)) => {
            let item = |element: &Json| match element {
                Json::Null => Some(None),
                _ => element.text().map(|text| Some(text.to_owned()).filter(|text| !text.is_empty())),
            };
            elements.iter().map(item).collect::<Option<_>>().map(Cell::List)
        }
        _ => None,
    }
}

impl<'a> Simple<'a> {
    /// Takes a leaf, or all below it, as held by a column.
    fn held(&mut self, path: &str) {
        let inside = format!("{path}{BETWEEN}");
        self.left.retain(|known, _| known != path && !known.starts_with(&inside));
    }

    fn own_columns(&mut self, table: &Table, row: &mut Made<'a>) {
        let mut positions = row.positions.clone().into_iter();
        for column in &table.columns {
            let cell = match &column.source {
                Source::Value(_) if is_of_identity(table, &column.name) => None,
                Source::Value(paths) => self.value(table, column, paths, row),
                Source::Constant => {
                    table.rows[row.from].constants.get(&column.name).map(|text| Cell::Text(text.clone()))
                }
                _ if is_position(column) => positions.next().map(Cell::Integer),
                _ => None,
            };
            if let Some(cell) = cell {
                row.cells.insert(column.name.clone(), cell);
            }
        }
        for identity in &table.identities {
            self.identity(table, identity, row);
        }
    }

    fn value(&mut self, table: &Table, column: &Column, paths: &[String], row: &Made) -> Option<Cell> {
        if let Some(key) = &row.key {
            if paths[0] == "key" {
                return Some(Cell::Text(key.clone()));
            }
            return cell(row.object, column.data_type).inspect(|_| self.held(&row.path));
        }
        for (rank, path) in paths.iter().enumerate() {
            let path = steps(path);
            if let Some(list) = path.iter().position(|step| step == "[]") {
                let Json::List(elements) = get(row.object, &path[..list])? else { return None };
                let text = |element: &Json| {
                    element.get(&path[list + 1])?.text().filter(|text| !text.is_empty()).map(str::to_owned)
                };
                let texts: Vec<_> = elements.iter().map(text).collect();
                for at in (0..texts.len()).filter(|&at| texts[at].is_some()) {
                    let place = path_below(&row.path, &path[..list]);
                    self.held(&path_below(&place, &[format!("#{at}"), path[list + 1].clone()]));
                }
                return Some(Cell::List(texts));
            }
            let found = get(row.object, &path);
            if let Some(mut cell) = found.and_then(|json| cell(json, column.data_type)) {
                let served = cell.clone();
                if (table.name.as_str(), column.name.as_str()) == ("calls", "call_id") {
                    cell = Cell::Text(cell.text()?.to_ascii_lowercase());
                }
                // What comes from a further path stays in extra_json.
                if rank == 0 && cell == served {
                    self.held(&path_below(&row.path, &path));
                }
                return Some(cell);
            }
        }
        None
    }

    fn identity(&mut self, table: &Table, identity: &Identity, row: &mut Made<'a>) {
        let name = |field: &str| format!("{}_{field}", identity.prefix);
        let sources: Vec<_> = identity
            .sources
            .iter()
            .map(|source| source.rows.is_none_or(|rows| rows == row.from).then_some(source))
            .collect();
        let object = |at: usize| {
            sources[at]?.object.as_ref().and_then(|path| get(row.object, &steps(path))).filter(|json| json.is_object())
        };
        let set = |at: usize| -> Vec<&(String, Json)> {
            let Some(path) = sources[at].and_then(|source| source.set.as_ref()) else { return Vec::new() };
            let path = steps(path);
            let members = get(row.object, &path).map(Json::members).unwrap_or_default();
            let is_kind = |name: &str, value: &Json| {
                value.is_object() && !name.contains(crate::json::HALF) && name != "@odata.type"
            };
            members
                .iter()
                .filter(|(name, value)| is_kind(name, value) && !is_ignored(name) && !is_column(table, &path, name))
                .collect()
        };
        let all = || 0..sources.len();
        let text = |json: &Json, member: &str| {
            json.get(member).and_then(Json::text).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let associated = all().find_map(|at| text(object(at)?, "id"));
        let same = |member: &&(String, Json)| associated.is_some() && text(&member.1, "id") == associated;
        let kind = all()
            .find_map(|at| set(at).into_iter().find(same))
            .or_else(|| all().find_map(|at| set(at).into_iter().next()))
            .map(|(kind, _)| kind.clone())
            .or_else(|| all().find_map(|at| kind_of_type(&text(object(at)?, "@odata.type")?)))
            .or_else(|| all().find_map(|at| text(object(at)?, "userPrincipalName")).map(|_| "user".to_owned()));
        let (mut origins, mut fields) = (BTreeMap::new(), Vec::new());
        for field in FIELDS {
            let column = &table.columns[table.column(&name(field)).expect("a column of the identity")];
            let Source::Value(paths) = &column.source else { panic!("it has paths") };
            let member = steps(&paths[0]).pop().expect("a member");
            for at in all() {
                let of_kind = set(at).into_iter().find(|(name, _)| Some(name) == kind.as_ref()).map(|(_, json)| json);
                let found = object(at).or(of_kind).and_then(|json| cell(json.get(&member)?, column.data_type));
                let outer = || {
                    let path = sources[at]?.outer_id.as_ref().filter(|_| field == "id")?;
                    cell(get(row.object, &steps(path))?, Type::String)
                };
                let (inside, Some(cell)) = (found.is_some(), found.or_else(outer)) else { continue };
                row.cells.insert(column.name.clone(), cell);
                origins.insert(field, at);
                if inside {
                    fields.push((at, member));
                }
                break;
            }
        }
        if let Some(kind) = &kind {
            row.cells.insert(name("kind"), Cell::Text(kind.clone()));
        }
        // A row that only one list can have given says so, whoever it names.
        let bound = || all().find(|&at| sources[at].is_some_and(|source| source.rows.is_some()));
        let Some(home) = origins.get("id").or_else(|| origins.values().min()).copied().or_else(bound) else { return };
        let source = &identity.sources[home];
        row.cells.insert(name("source"), Cell::Text(source.name.clone()));
        for (_, member) in fields.into_iter().filter(|(at, _)| *at == home) {
            let mut path = steps(source.object.as_ref().or(source.set.as_ref()).expect("an object or a set"));
            path.extend(kind.clone().filter(|_| source.object.is_none()));
            path.push(member);
            self.held(&path_below(&row.path, &path));
        }
    }

    /// The row of another table that a row sits in.
    fn parent(&self, table: &str, positions: &[i64]) -> Option<&Made<'a>> {
        let at = Catalogue::embedded().tables.iter().position(|known| known.name == table)?;
        let found = |row: &&Made| positions.starts_with(&row.positions) && depth(at) <= positions.len();
        self.tables.get(at)?.iter().find(found)
    }

    fn derived(&mut self, table: &Table) {
        let rows = self.tables.len() - 1;
        for at in 0..self.tables[rows].len() {
            for column in &table.columns {
                let row = &self.tables[rows][at];
                let made = match &column.source {
                    Source::Inherited { table, column } => {
                        self.parent(table, &row.positions).and_then(|row| row.cells.get(column).cloned())
                    }
                    Source::Derived(derive) => self.function(derive, column, row),
                    _ => None,
                };
                if let Some(cell) = made {
                    self.tables[rows][at].cells.insert(column.name.clone(), cell);
                }
            }
        }
    }

    fn function(&self, derive: &Derive, column: &Column, row: &Made) -> Option<Cell> {
        let argument = |at: usize| row.cells.get(derive.arguments.get(at)?);
        let text = |at: usize| argument(at).and_then(Cell::text);
        let said = |text: &str| Some(Cell::Text(text.to_owned()));
        match derive.function.as_str() {
            "copy" => argument(0).cloned(),
            "inherit" => self.parent(&derive.arguments[0], &row.positions)?.cells.get(&derive.arguments[1]).cloned(),
            "duration_seconds" => match (argument(0)?, argument(1)?) {
                (Cell::Instant(start), Cell::Instant(end)) => Some(Cell::Float(((end - start) as f64 / 1e6).to_bits())),
                _ => None,
            },
            "join_web_url_thread_id" => join_link::parts(text(0)?)[0].as_deref().and_then(said),
            "join_web_url_organizer_id" => join_link::parts(text(0)?)[1].as_deref().and_then(said),
            "join_web_url_tenant_id" => join_link::parts(text(0)?)[2].as_deref().and_then(said),
            "endpoint_kind" => endpoint_kind(row.object.get(&derive.arguments[0])?).and_then(said),
            "media_kind" => {
                let label = text(0)?.to_lowercase();
                let kinds = [("audio", "audio"), ("applicationsharing", "screen_sharing"), ("video", "video")];
                let kind = kinds.iter().find(|(part, _)| label.contains(part)).map(|(_, kind)| *kind);
                said(kind.unwrap_or(if label == "data" { "data" } else { "other" }))
            }
            "sender_side" => match text(0)? {
                "callerToCallee" => said("caller"),
                "calleeToCaller" => said("callee"),
                _ => None,
            },
            "quality" => quality(&row.cells).and_then(|(quality, _)| said(quality)),
            "poor_reasons" => quality(&row.cells)
                .map(|(_, reasons)| Cell::List(reasons.iter().map(|&reason| Some(reason.to_owned())).collect())),
            "sender" | "receiver" => {
                let sender = row.cells.get("sender_side")?.text()?;
                let other = if sender == "caller" { "callee" } else { "caller" };
                let side = if derive.function == "sender" { sender } else { other };
                let from = if derive.arguments[0] == "network" {
                    return self
                        .parent("media", &row.positions)?
                        .cells
                        .get(&format!("{side}_network_{}", derive.arguments[1]))
                        .cloned();
                } else {
                    let (segment, session) =
                        (self.parent("segments", &row.positions)?, self.parent("sessions", &row.positions)?);
                    let only =
                        self.tables[3].iter().filter(|row| row.positions.starts_with(&session.positions)).count() == 1;
                    let has = |row: &Made| row.cells.contains_key(&format!("{side}_endpoint_kind"));
                    if has(segment) { segment } else { Some(session).filter(|_| only)? }
                };
                from.cells.get(&format!("{side}_{}", derive.arguments[1])).cloned()
            }
            "count" | "identity_kind" | "identity_source" => None,
            other => panic!("{} is derived by {other}", column.name),
        }
    }

    fn counts(&mut self) {
        let tables = &Catalogue::embedded().tables;
        for (number, table) in tables.iter().enumerate() {
            for column in &table.columns {
                let Source::Derived(Derive { function, arguments }) = &column.source else { continue };
                if function != "count" {
                    continue;
                }
                let below = tables.iter().position(|known| known.name == arguments[0]).expect("a table");
                let places: Vec<_> = self.tables[below].iter().map(|row| row.positions.clone()).collect();
                for row in &mut self.tables[number] {
                    let count = places.iter().filter(|place| place.starts_with(&row.positions)).count();
                    row.cells.insert(column.name.clone(), Cell::Integer(count as i64));
                }
            }
        }
    }

    /// Every leaf that is left belongs to the innermost row around it.
    fn extras(&mut self) {
        for (path, leaf) in std::mem::take(&mut self.left) {
            let inside = |row: &Made| {
                row.path.is_empty() || path == row.path || path.starts_with(&format!("{}{BETWEEN}", row.path))
            };
            let row = self
                .tables
                .iter_mut()
                .flatten()
                .filter(|row| inside(row))
                .max_by_key(|row| row.path.len())
                .expect("the call");
            let rest = &path[row.path.len()..];
            let name = if row.key.is_some() { below("", "value") + rest } else { rest.to_owned() };
            row.extra.insert(name, leaf);
        }
    }
}

fn depth(table: usize) -> usize {
    steps(&Catalogue::embedded().tables[table].rows[0].path).iter().filter(|step| *step == "[]").count()
}

/// Whether a member of an object is a plain column's, or on the way to one.
fn is_column(table: &Table, path: &[String], name: &str) -> bool {
    table.columns.iter().filter(|column| !is_of_identity(table, &column.name)).any(|column| match &column.source {
        Source::Value(paths) => paths
            .iter()
            .map(|path| steps(path))
            .any(|steps| steps.starts_with(path) && steps.get(path.len()).is_some_and(|step| step == name)),
        _ => false,
    })
}

fn kind_of_type(name: &str) -> Option<String> {
    let kind = name.rsplit(['.', '#']).next()?.strip_suffix("Identity")?;
    let kind = kind.strip_prefix("communications").unwrap_or(kind);
    let first = kind.chars().next()?;
    Some(first.to_lowercase().chain(kind.chars().skip(1)).collect())
}

fn endpoint_kind(endpoint: &Json) -> Option<&'static str> {
    let of_type = endpoint.get("@odata.type").and_then(Json::text).unwrap_or_default();
    for (suffix, kind) in [("participantEndpoint", "participant"), ("serviceEndpoint", "service")] {
        if of_type.ends_with(suffix) {
            return Some(kind);
        }
    }
    let members: Vec<_> = endpoint.members().iter().filter(|(name, _)| !name.contains("@odata.")).collect();
    match members.as_slice() {
        [] => None,
        [(name, _)] if name == "userAgent" => Some("service"),
        _ => Some("participant"),
    }
}

fn quality(cells: &Row) -> Option<(&'static str, Vec<&'static str>)> {
    let metric = |name: &str| cells.get(name).and_then(Cell::float);
    let packets = cells.get("packet_utilization").and_then(Cell::integer);
    let kind = cells.get("media_kind")?.text()?;
    if !["audio", "video", "screen_sharing"].contains(&kind) {
        return None;
    }
    let over = |name: &'static str, reason: &'static str, limit: f64| metric(name).map(|value| (reason, value > limit));
    let least = if kind == "video" { 7.0 } else { 2.0 };
    let audio = [
        over("average_jitter_ms", "jitter", 30.0),
        over("average_packet_loss_rate", "packet_loss", 0.1),
        over("average_round_trip_time_ms", "round_trip_time", 500.0),
    ];
    let pictures = [
        over("average_video_frame_loss_percentage", "frame_loss", 50.0),
        metric("average_video_frame_rate").map(|rate| ("frame_rate", rate < least)),
        over("post_forward_error_correction_packet_loss_rate", "post_fec_packet_loss", 0.15),
    ];
    let measured: Vec<_> = if kind == "audio" {
        audio.into_iter().flatten().collect()
    } else {
        pictures.into_iter().flatten().take(1).collect()
    };
    if packets == Some(0) || measured.is_empty() {
        return Some(("unclassified", Vec::new()));
    }
    let reasons: Vec<_> = measured.into_iter().filter(|(_, breach)| *breach).map(|(reason, _)| reason).collect();
    match packets {
        _ if reasons.is_empty() => Some(("good", reasons)),
        None if kind == "audio" => Some(("unclassified", Vec::new())),
        Some(packets) if kind == "audio" && packets <= 500 => Some(("good", Vec::new())),
        _ => Some(("poor", reasons)),
    }
}

/// Compares cells column by column, and `extra_json` by its leaves.
pub(crate) fn assert_same(text: &str, tables: &RecordRows) {
    for ((table, made), rows) in Catalogue::embedded().tables.iter().zip(flatten(&Json::parse(text))).zip(tables) {
        assert_eq!(made.len(), rows.len(), "rows of {}: {text}", table.name);
        // Both sides of one parent come in the order of the record.
        let key = |row: &Row| {
            let positions: Vec<_> = table
                .columns
                .iter()
                .filter(|column| is_position(column))
                .map(|column| row.get(&column.name).and_then(Cell::integer))
                .collect();
            let names: Vec<_> = ["side", "level", "token"]
                .iter()
                .map(|name| row.get(*name).and_then(Cell::text).map(str::to_owned))
                .collect();
            (positions, names)
        };
        let (mut made, mut rows) = (made, rows.clone());
        if table.rows.len() > 1 {
            made.sort_by_key(|(row, _)| key(row));
            rows.sort_by_key(&key);
        }
        for ((expected, extra), mut row) in made.into_iter().zip(rows) {
            let held = row.remove("extra_json").map_or(Json::Null, |cell| Json::parse(cell.text().unwrap()));
            let place = row.get("side").and_then(Cell::text).map_or(0, |side| {
                let level = row.get("level");
                table
                    .rows
                    .iter()
                    .position(|rows| {
                        rows.constants["side"] == side
                            && rows.constants.get("level").map(String::as_str) == level.and_then(Cell::text)
                    })
                    .unwrap()
            });
            for column in &table.columns {
                let (left, right) = (expected.get(&column.name), row.get(&column.name));
                assert_eq!(left, right, "{}.{} of {text}", table.name, column.name);
            }
            let held = leaves::leaves(&held, &steps(&table.rows[place].path));
            if let Some(difference) = leaves::difference(&extra, &held) {
                panic!("extra_json of {}:\n{difference}\nrecord: {text}\nrow: {row:?}", table.name);
            }
        }
    }
}

#[test]
fn random_records_give_the_same_rows() {
    for seed in 1_000..1_020 {
        let mut records = crate::random::Records::new(seed);
        let texts: Vec<_> = (0..100).map(|_| records.next_record()).collect();
        for (number, (text, tables)) in std::iter::zip(&texts, crate::rebuild::flattened(&texts)).enumerate() {
            let same = std::panic::catch_unwind(|| assert_same(text, &tables));
            assert!(same.is_ok(), "seed {seed}, record {number}");
        }
    }
}

#[test]
fn the_sample_records_give_the_same_rows_and_are_built_again() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/sample_data/records");
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 10);
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let tables = crate::rebuild::flattened(std::slice::from_ref(&text));
        assert_same(&text, &tables[0]);
        crate::rebuild::assert_rebuilt(&text, &tables[0]);
    }
}
