//! Plugins that the page brings.

use gmat_core::plugin::Plugin;
use gmat_core::{Registry, Result};
use serde_json::{Value as Json, json};
use wasm_bindgen::prelude::*;

use super::Session;
use crate::answer::{answer, refusal};
use crate::plugin::{open, watched};

#[wasm_bindgen]
impl Session {
    /// Adds a plugin from the file of that name; answers what it brings.
    ///
    /// # Errors
    /// If it is none, or if its name is taken.
    #[wasm_bindgen(js_name = addPlugin)]
    pub fn add_plugin(&mut self, place: &str, wasm: Vec<u8>) -> Result<String, JsValue> {
        answer(self.take_plugin(place, wasm))
    }

    /// Removes the plugin of that name.
    ///
    /// # Errors
    /// None.
    #[wasm_bindgen(js_name = removePlugin)]
    pub fn remove_plugin(&mut self, name: &str) -> Result<(), JsValue> {
        let left = self.registry.plugins().iter().copied().filter(|plugin| plugin.name() != name);
        let filled = || {
            let mut registry = Registry::builtin(gmat_codecs::link())?;
            left.clone().try_for_each(|plugin| registry.add_plugin(plugin))?;
            Ok(registry)
        };
        self.registry = filled().map_err(|error| refusal(&error))?;
        Ok(())
    }

    /// Where it is to be seen which thread is in a call of a plugin: an address in memory, and how many
    /// threads have three numbers there, see `plugin/watch.rs`.
    #[must_use]
    pub fn watched(&self) -> Vec<usize> {
        let (at, threads) = watched();
        vec![at, threads]
    }
}

impl Session {
    fn take_plugin(&mut self, place: &str, wasm: Vec<u8>) -> Result<Json> {
        let number = self.known.len();
        let plugin = open(u32::try_from(number).unwrap_or(u32::MAX), place, wasm)?;
        let is_it = |other: &&'static Plugin| other.identity() == plugin.identity();
        // The same file twice counts once.
        if self.registry.plugins().iter().any(is_it) {
            return Ok(Json::Null);
        }
        // Plugins live as long as the worker, so one that was removed is used again.
        let again = self.known.iter().position(|other| is_it(other) && other.place() == place);
        let number = again.unwrap_or(number);
        let plugin = match self.known.get(number) {
            Some(known) => *known,
            None => Box::leak(Box::new(plugin)),
        };
        self.registry.add_plugin(plugin)?;
        if again.is_none() {
            self.known.push(plugin);
        }
        let descriptor = plugin.descriptor();
        let types: Vec<_> = descriptor.types.iter().map(|ty| &ty.name).collect();
        let blocks: Vec<_> = descriptor.blocks.iter().map(|block| &block.name).collect();
        Ok(json!({
            "number": number,
            "name": descriptor.name,
            "version": descriptor.version,
            "summary": descriptor.summary,
            "blake3": plugin.identity().blake3,
            "types": types,
            "blocks": blocks,
        }))
    }
}
