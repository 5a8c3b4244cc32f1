//! Tensors by what they have in common, with the error of each group as a whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::export::report::{Report, Tensor};

/// Error of several tensors together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pool {
    /// Number of tensors.
    pub(super) tensors: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    square: f64,
    error: f64,
}

impl Pool {
    fn add(&mut self, tensor: &Tensor) {
        self.tensors += 1;
        self.bytes = self.bytes.saturating_add(tensor.bytes);
        // The sums that the figures were made of.
        let elems: f64 = tensor.shape.iter().map(|&dim| dim as f64).product();
        let square = tensor.rms * tensor.rms * elems;
        let relative = tensor.error.relative_rmse;
        let error = relative * relative * square;
        if square.is_finite() && error.is_finite() {
            self.square += square;
            self.error += error;
        }
    }

    /// Relative root mean square error.
    pub(super) fn relative(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { (self.error / self.square).sqrt() }
    }
}

/// What a tensor is for: its name without the layer and without `.weight`.
pub(super) fn role(tensor: &Tensor) -> &str {
    let name = match tensor.layer {
        Some(_) => tensor.name.splitn(3, '.').nth(2).unwrap_or(&tensor.name),
        None => &tensor.name,
    };
    name.strip_suffix(".weight").unwrap_or(name)
}

/// All groups of a report.
#[derive(Debug, Default)]
pub(super) struct Groups<'a> {
    /// By role; in layers only.
    pub(super) roles: BTreeMap<&'a str, Pool>,
    /// By layer.
    pub(super) layers: BTreeMap<u32, Pool>,
    /// By layer and role.
    pub(super) cells: BTreeMap<(u32, &'a str), Pool>,
    /// By type, largest first.
    pub(super) types: Vec<(&'a str, Pool)>,
    /// Roles without any error: their types hold every weight exactly.
    pub(super) exact: BTreeSet<&'a str>,
}

impl<'a> Groups<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        let mut groups = Self::default();
        let mut types: BTreeMap<&str, Pool> = BTreeMap::new();
        for tensor in &report.tensors {
            types.entry(&tensor.ty).or_default().add(tensor);
            let Some(layer) = tensor.layer else { continue };
            let role = role(tensor);
            groups.roles.entry(role).or_default().add(tensor);
            groups.layers.entry(layer).or_default().add(tensor);
            groups.cells.entry((layer, role)).or_default().add(tensor);
        }
        groups.types = types.into_iter().collect();
        groups.types.sort_by(|a, b| b.1.bytes.cmp(&a.1.bytes).then(a.0.cmp(b.0)));
        let exact = groups.roles.iter().filter(|(_, pool)| pool.relative() == 0.0);
        groups.exact = exact.map(|(role, _)| *role).collect();
        groups
    }

    /// Roles with an error, the largest first.
    pub(super) fn worst_roles(&self) -> Vec<(&'a str, Pool)> {
        let mut roles: Vec<(&str, Pool)> =
            self.roles.iter().map(|(role, pool)| (*role, *pool)).collect();
        roles.retain(|(role, _)| !self.exact.contains(role));
        roles.sort_by(|a, b| b.1.relative().total_cmp(&a.1.relative()).then(a.0.cmp(b.0)));
        roles
    }
}
