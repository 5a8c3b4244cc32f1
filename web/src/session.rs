//! What the worker calls: one model after the other, looked at, planned and converted.

use gmat_core::export::check_type;
use gmat_core::import::Draft;
use gmat_core::quant::Need;
use gmat_core::recipe::FileType;
use gmat_core::{Registry, Result};
use serde_json::{Value as Json, json};
use wasm_bindgen::prelude::*;

use crate::answer::{answer, refusal};
use crate::host::{HostFiles, HostProgress, HostSink, PageFiles, PageProgress, PageSink, nothing};
use crate::inspect::Kind;
use crate::options::{ExportOptions, ImportOptions, parse};
use crate::run::{Import, export, plan, recommended};
use crate::start::report_panics;

/// The model that was picked.
pub(crate) struct Source {
    pub(crate) files: PageFiles,
    pub(crate) kind: Kind,
    /// Name of its folder.
    pub(crate) name: Option<String>,
}

/// A file of importance, see `gmat export --imatrix`.
pub(crate) struct Matrix {
    pub(crate) files: PageFiles,
    pub(crate) name: String,
}

/// The state of the worker.
#[wasm_bindgen]
pub struct Session {
    pub(crate) registry: Registry,
    source: Option<Source>,
    draft: Option<Draft>,
    /// The store that the source was imported to.
    store: Option<PageFiles>,
    matrix: Option<Matrix>,
}

#[wasm_bindgen]
impl Session {
    /// A session with everything compiled in. Panics are told on the channel of that name.
    ///
    /// # Errors
    /// If codecs are missing, which is a fault of the build.
    #[wasm_bindgen(constructor)]
    pub fn new(channel: &str) -> Result<Session, JsValue> {
        report_panics(channel);
        let registry = Registry::builtin(gmat_codecs::link()).map_err(|e| refusal(&e))?;
        Ok(Self { registry, source: None, draft: None, store: None, matrix: None })
    }

    /// Block formats, types and recipes, and how many threads compute.
    ///
    /// # Errors
    /// None.
    pub fn formats(&self) -> Result<String, JsValue> {
        answer(Ok(formats(&self.registry)))
    }

    /// Takes a model; `name` is that of its folder, `file` that of the only file. Answers what it is.
    ///
    /// # Errors
    /// If it is none, or damaged.
    pub fn open(
        &mut self,
        files: HostFiles,
        name: Option<String>,
        file: Option<String>,
    ) -> Result<String, JsValue> {
        (self.source, self.draft, self.store) = (None, None, None);
        let files = PageFiles::new(files);
        let opened = Kind::of(&files, file.as_deref()).and_then(|kind| {
            let contents = kind.contents(&files, &self.registry)?;
            self.source = Some(Source { files, kind, name });
            Ok(contents)
        });
        answer(opened)
    }

    /// Plans an import with these options, so that exports of its store can be planned.
    ///
    /// # Errors
    /// If the model cannot be imported so.
    pub fn draft(&mut self, options: &str) -> Result<String, JsValue> {
        self.draft = None;
        let drafted = self.import_of(options).and_then(|import| {
            let (draft, answer) = import.draft(&self.registry)?;
            Ok((draft, answer))
        });
        answer(drafted.map(|(draft, answer)| {
            self.draft = Some(draft);
            answer
        }))
    }

    /// Writes the store of the model.
    ///
    /// # Errors
    /// Like `gmat import`.
    pub fn import(
        &mut self,
        options: &str,
        sink: HostSink,
        progress: HostProgress,
    ) -> Result<String, JsValue> {
        let import = self.import_of(options);
        let run = |import: Import<'_>| {
            import.run(&self.registry, &mut PageSink::new(sink), &mut PageProgress(progress))
        };
        answer(import.and_then(run))
    }

    /// Takes the store that has been written.
    #[wasm_bindgen(js_name = useStore)]
    pub fn use_store(&mut self, files: HostFiles) {
        self.store = Some(PageFiles::new(files));
    }

    /// Forgets it.
    #[wasm_bindgen(js_name = forgetStore)]
    pub fn forget_store(&mut self) {
        self.store = None;
    }

    /// Takes an importance matrix, or none.
    #[wasm_bindgen(js_name = useMatrix)]
    pub fn use_matrix(&mut self, files: Option<HostFiles>, name: String) {
        self.matrix = files.map(|files| Matrix { files: PageFiles::new(files), name });
    }

    /// What every tensor becomes with these options, and how large the files will be.
    ///
    /// # Errors
    /// Like `gmat export --explain`.
    pub fn plan(&self, options: &str) -> Result<String, JsValue> {
        let planned = parse::<ExportOptions>(options).and_then(|options| {
            plan(self.plannable()?, &options, self.matrix.as_ref(), &self.registry)
        });
        answer(planned)
    }

    /// The config that `gmat export --generate-config` writes.
    ///
    /// # Errors
    /// Like that.
    pub fn recommend(&self, options: &str) -> Result<String, JsValue> {
        let config = parse::<ExportOptions>(options).and_then(|options| {
            let store = gmat_core::store::Store::open(self.plannable()?)?;
            recommended(&store, &options, &self.registry)?.to_json()
        });
        config.map_err(|error| refusal(&error))
    }

    /// Writes the GGUF files.
    ///
    /// # Errors
    /// Like `gmat export`.
    pub fn export(
        &self,
        options: &str,
        sink: HostSink,
        progress: HostProgress,
    ) -> Result<String, JsValue> {
        let exported = parse::<ExportOptions>(options).and_then(|options| {
            let store = self.written().ok_or_else(|| nothing("store"))?;
            let (mut sink, mut progress) = (PageSink::new(sink), PageProgress(progress));
            let matrix = self.matrix.as_ref();
            export(store, &options, matrix, &self.registry, &mut sink, &mut progress)
        });
        answer(exported)
    }
}

impl Session {
    fn import_of(&self, options: &str) -> Result<Import<'_>> {
        let options: ImportOptions = parse(options)?;
        let source = self.source.as_ref().ok_or_else(|| nothing("model"))?;
        Import::new(source, &options, &self.registry)
    }

    /// A store with weights.
    fn written(&self) -> Option<&PageFiles> {
        let source = self.source.as_ref().filter(|source| source.kind == Kind::Store);
        self.store.as_ref().or_else(|| source.map(|source| &source.files))
    }

    /// A store with or without weights.
    fn plannable(&self) -> Result<&dyn gmat_core::io::Files> {
        match (self.written(), &self.draft) {
            (Some(store), _) => Ok(store),
            (None, Some(draft)) => Ok(draft),
            (None, None) => Err(nothing("store")),
        }
    }
}

/// Everything that can be chosen.
fn formats(registry: &Registry) -> Json {
    let blocks = registry.blocks().iter();
    let blocks: Vec<_> =
        blocks.map(|block| json!({"name": block.name(), "summary": block.summary()})).collect();
    let quants = registry.quants().iter().map(|quant| {
        let needs = quant.importance() == Need::Required;
        json!({
            "name": quant.name(),
            "bits": quant.block().bits(),
            "needsImportance": needs,
            "forAll": check_type(quant.name(), registry).is_ok(),
        })
    });
    let quants: Vec<_> = quants.collect();
    let recipes = FileType::ALL.iter().filter_map(|recipe| {
        let base = registry.quant(recipe.default_type())?;
        (recipe.name() != base.name()).then(
            || json!({"name": recipe.name(), "base": base.name(), "bits": base.block().bits()}),
        )
    });
    let recipes: Vec<_> = recipes.collect();
    let archs: Vec<_> = registry.archs().iter().map(|arch| arch.name()).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "threads": rayon::current_num_threads(),
        "blocks": blocks,
        "types": quants,
        "recipes": recipes,
        "archs": archs,
    })
}
