//! Which config: a file, with the environment before it; and of the tenants in it
//! one, whose keys come before both.

use super::explain;
use crate::error::{Error, Result};
use figment::providers::{Env, Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

const DEFAULT_FILE: &str = "callrec.toml";
const SECTIONS: [&str; 7] = ["source", "graph", "output", "simulator", "subscription", "listen", "logs"];
/// The only section that a tenant cannot have of its own: one receiver serves all.
const OF_ALL: &str = "listen";
const TENANTS: &str = "tenant";
/// Stands for the name of a tenant in what all tenants share.
pub const PLACEHOLDER: &str = "{tenant}";
const LONGEST_NAME: usize = 64;
/// Keys that are of one tenant together: one that has any of its own takes none of
/// them from elsewhere, least of all a secret.
const TOGETHER: [(&[&str], &[&str]); 2] = [
    (&["source"], &["client_state", "client_state_file"]),
    (
        &["graph", "auth"],
        &[
            "client_secret",
            "client_secret_file",
            "certificate_file",
            "certificate_key_file",
            "certificate_password",
            "certificate_password_file",
            "send_certificate_chain",
            "federated_token_file",
            "token",
            "token_file",
        ],
    ),
];

/// One config: of the file as a whole, or of one of its tenants. It can hold
/// secrets and is not to be shown.
#[derive(Clone)]
pub struct Place {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The tenant, if the file has `[[tenant]]` entries.
    pub tenant: Option<String>,
    pub(super) figment: Figment,
}

impl Place {
    /// Requests of the app in any 20 seconds, of all its tenants together: the
    /// published limit, unless the config says otherwise.
    #[must_use]
    pub fn app_requests_per_20s(&self) -> u32 {
        self.figment.extract_inner("graph.app_requests_per_20s").unwrap_or(15_000)
    }

    /// The same, read anew.
    ///
    /// # Errors
    /// As [`places`]; by class configuration when the tenant is not there any more.
    pub fn again(&self) -> Result<Self> {
        let Some(name) = &self.tenant else { return whole(self.file.as_deref()) };
        let found = places(self.file.as_deref())?.into_iter().find(|place| place.tenant.as_ref() == Some(name));
        found.ok_or_else(|| {
            Error::config(format!("The config has no tenant {name} any more")).hint("restart what reads it")
        })
    }

    /// What relative paths are relative to.
    pub(super) fn base(&self) -> &Path {
        self.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""))
    }
}

/// All configs: one for each tenant, or the only one.
///
/// # Errors
/// By class configuration when the file that is named is missing, is no TOML, or
/// its tenants cannot be told apart.
pub fn places(named: Option<&Path>) -> Result<Vec<Place>> {
    let whole = whole(named)?;
    let Some(file) = whole.file.clone() else { return Ok(vec![whole]) };
    let toml = Toml::file_exact(&file);
    // What is no TOML is said when the config is loaded.
    let mut shared = toml.data().ok().and_then(|mut data| data.remove(&Profile::Default)).unwrap_or_default();
    let Some(entries) = shared.remove(TENANTS) else { return Ok(vec![whole]) };
    let Value::Array(_, entries) = entries else {
        return Err(Error::config(format!("{}: tenant must be a list of tables", file.display()))
            .hint("begin each tenant with [[tenant]]"));
    };
    let (shared, environment) =
        (Layer::new(toml.metadata(), shared), Layer::new(environment().metadata(), variables()));
    let mut names = BTreeSet::new();
    let mut places = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let place = of_tenant(&file, index, entry, &shared, &environment)?;
        if !names.insert(place.tenant.as_deref().unwrap_or_default().to_ascii_lowercase()) {
            return Err(Error::config(format!("{} has two tenants with one name", file.display()))
                .hint("give each [[tenant]] a name of its own, whatever its case"));
        }
        places.push(place);
    }
    apart(&file, &places)?;
    Ok(places)
}

/// The file as a whole, whatever tenants it has.
///
/// # Errors
/// By class configuration when the one that is named is missing.
pub fn whole(named: Option<&Path>) -> Result<Place> {
    let file = match named {
        Some(path) if path.is_file() => Some(path.to_owned()),
        Some(path) => {
            return Err(Error::config(format!("There is no config file {}", path.display()))
                .hint("check --config or CALLREC_CONFIG; `callrec init` writes a commented one"));
        }
        None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.is_file()),
    };
    let mut figment = Figment::new();
    if let Some(path) = &file {
        figment = figment.merge(Toml::file_exact(path));
    }
    Ok(Place { file, tenant: None, figment: figment.merge(environment()) })
}

fn environment() -> Env {
    Env::prefixed("CALLREC_")
        .filter(|key| SECTIONS.iter().any(|s| key.as_str().to_ascii_lowercase().starts_with(&format!("{s}__"))))
        .split("__")
}

fn variables() -> Dict {
    environment().data().ok().and_then(|mut data| data.remove(&Profile::Default)).unwrap_or_default()
}

fn of_tenant(file: &Path, index: usize, entry: Value, shared: &Layer, environment: &Layer) -> Result<Place> {
    let number = index + 1;
    let place = || format!("{}, [[tenant]] number {number}", file.display());
    let Value::Dict(_, mut entry) = entry else {
        return Err(Error::config(format!("{} is no table", place())).hint("begin each tenant with [[tenant]]"));
    };
    let Some(Value::String(_, name)) = entry.remove("name") else {
        return Err(Error::config(format!("{} has no name", place()))
            .hint("give name = \"…\": it names the tenant in logs and summaries, and its directory"));
    };
    let is_name = name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !is_name {
        return Err(Error::config(format!("{} has a name that names no directory", place()))
            .hint("use letters, digits, and . _ - between them: 64 at most"));
    }
    let title = format!("{}, tenant {name}", file.display());
    let known: Vec<&str> = SECTIONS.into_iter().filter(|section| *section != OF_ALL).collect();
    if let Some(unknown) = entry.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(Error::config(format!("{title} has the unknown key {unknown}"))
            .hint(format!("known keys are name, {}", known.join(", "))));
    }
    if matches!(entry.get("graph"), Some(Value::Dict(_, graph)) if graph.contains_key("app_requests_per_20s")) {
        return Err(Error::config(format!("{title} has a limit of the app of its own"))
            .hint("set app_requests_per_20s in [graph], before the tenants: it holds for all of them together"));
    }
    let mut figment = Figment::new().merge(shared.of(&name, &entry)).merge(environment.of(&name, &entry));
    let root = Figment::new().merge(shared).merge(environment).extract_inner::<PathBuf>("output.root").ok();
    if let Some(root) = root.filter(|root| !root.to_string_lossy().contains(PLACEHOLDER)) {
        let path = root.join(&name).to_string_lossy().into_owned();
        let output = Dict::from([("root".to_owned(), Value::from(path))]);
        let layer = Dict::from([("output".to_owned(), Value::from(output))]);
        figment = figment.merge(Layer::new(Metadata::named(title.clone()), layer));
    }
    figment = figment.merge(Layer::new(Metadata::named(title), entry));
    Ok(Place { file: Some(file.to_owned()), tenant: Some(name), figment })
}

/// No dataset may lie in another: the purge of one would touch both.
fn apart(file: &Path, places: &[Place]) -> Result<()> {
    let mut roots: Vec<(PathBuf, &str)> = Vec::new();
    let mut ids: BTreeMap<String, &str> = BTreeMap::new();
    for place in places {
        let name = place.tenant.as_deref().unwrap_or_default();
        if let Ok(root) = place.figment.extract_inner::<PathBuf>("output.root") {
            roots.push((real(&place.base().join(root)), name));
        }
        if let Ok(id) = place.figment.extract_inner::<String>("graph.auth.tenant_id")
            && let Some(other) = ids.insert(id.to_ascii_lowercase(), name)
        {
            return Err(Error::config(format!("{}: {other} and {name} are one tenant", file.display()))
                .hint("give each [[tenant]] a graph.auth.tenant_id of its own: what is asked for twice counts twice"));
        }
    }
    for (root, name) in &roots {
        let around = root.ancestors().skip(1).find(|path| path.join("_callrec").join("commits").is_dir());
        if let Some(around) = around {
            return Err(Error::config(format!(
                "{}: the dataset of the tenant {name} would lie in the dataset {}",
                file.display(),
                around.display()
            ))
            .hint(
                "give the tenant to whom that one belongs its directory as output.root, and the others roots elsewhere",
            ));
        }
    }
    roots.sort();
    match roots.windows(2).find(|pair| pair[1].0.starts_with(&pair[0].0)) {
        None => Ok(()),
        Some(pair) => Err(Error::config(format!(
            "{}: the datasets of the tenants {} and {} are not apart",
            file.display(),
            pair[0].1,
            pair[1].1
        ))
        .hint("give each tenant an [output] root that lies in no other's")),
    }
}

/// The path without links and without `..`, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|there| Some((there, there.canonicalize().ok()?)));
    let (mut real, rest) = match there {
        Some((there, real)) => (real, path.strip_prefix(there).unwrap_or(Path::new(""))),
        None => (PathBuf::new(), path.as_path()),
    };
    for part in rest.components() {
        match part {
            Component::ParentDir => drop(real.pop()),
            Component::CurDir => {}
            part => real.push(part),
        }
    }
    real
}

/// Values with their origin.
#[derive(Clone)]
struct Layer {
    metadata: Metadata,
    values: Dict,
}

impl Layer {
    const fn new(metadata: Metadata, values: Dict) -> Self {
        Self { metadata, values }
    }

    /// The same, for the tenant `name` with its `own` values.
    fn of(&self, name: &str, own: &Dict) -> Self {
        let mut values = self.values.clone();
        values.values_mut().for_each(|value| put(value, name));
        for (place, keys) in TOGETHER {
            if let (Some(own), Some(shared)) = (at(own, place), at_mut(&mut values, place))
                && keys.iter().any(|key| own.contains_key(*key))
            {
                keys.iter().for_each(|key| drop(shared.remove(*key)));
            }
        }
        Self { metadata: self.metadata.clone(), values }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

fn at<'a>(values: &'a Dict, place: &[&str]) -> Option<&'a Dict> {
    place.iter().try_fold(values, |values, key| match values.get(*key) {
        Some(Value::Dict(_, inner)) => Some(inner),
        _ => None,
    })
}

fn at_mut<'a>(values: &'a mut Dict, place: &[&str]) -> Option<&'a mut Dict> {
    place.iter().try_fold(values, |values, key| match values.get_mut(*key) {
        Some(Value::Dict(_, inner)) => Some(inner),
        _ => None,
    })
}

fn put(value: &mut Value, name: &str) {
    match value {
        Value::String(_, text) if text.contains(PLACEHOLDER) => *text = text.replace(PLACEHOLDER, name),
        Value::Dict(_, values) => values.values_mut().for_each(|value| put(value, name)),
        Value::Array(_, values) => values.iter_mut().for_each(|value| put(value, name)),
        _ => {}
    }
}

impl Place {
    pub(super) fn extract<'de, T: serde::Deserialize<'de>>(&self) -> Result<T> {
        self.figment.extract().map_err(|error| explain(&error))
    }
}
