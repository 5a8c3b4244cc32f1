//! What the worker calls: one model after the other, looked at, planned and converted.

mod formats;
mod plugins;

use gmat_core::import::Draft;
use gmat_core::plugin::Plugin;
use gmat_core::{Registry, Result};
use wasm_bindgen::prelude::*;

use self::formats::formats;
use crate::answer::{answer, refusal};
use crate::arrays;
use crate::host::{HostFiles, HostProgress, HostSink, PageFiles, PageProgress, PageSink, nothing};
use crate::inspect::Kind;
use crate::options::{ExportOptions, ImportOptions, parse};
use crate::run::{Import, export, plan, recommended};
use crate::source::{Matrix, Source, store};
use crate::start::report_panics;

/// The state of the worker.
#[wasm_bindgen]
pub struct Session {
    registry: Registry,
    source: Option<Source>,
    draft: Option<Draft>,
    /// The store that the source was imported to.
    store: Option<PageFiles>,
    /// What that store takes tensors from, if it does.
    base: Option<PageFiles>,
    matrix: Option<Matrix>,
    /// All plugins that there were, by number.
    known: Vec<&'static Plugin>,
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
        Ok(Self {
            registry,
            source: None,
            draft: None,
            store: None,
            base: None,
            matrix: None,
            known: Vec::new(),
        })
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
        (self.source, self.draft, self.store, self.base) = (None, None, None, None);
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

    /// Takes the base of the store that was picked, or none.
    #[wasm_bindgen(js_name = useBase)]
    pub fn use_base(&mut self, files: Option<HostFiles>) {
        self.base = files.map(PageFiles::new);
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
            plan(
                self.plannable()?,
                self.base.as_ref(),
                &options,
                self.matrix.as_ref(),
                &self.registry,
            )
        });
        answer(planned)
    }

    /// The config that `gmat export --generate-config` writes.
    ///
    /// # Errors
    /// Like that.
    pub fn recommend(&self, options: &str) -> Result<String, JsValue> {
        let config = parse::<ExportOptions>(options).and_then(|options| {
            let store = store(self.plannable()?, self.base.as_ref())?;
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
            let base = self.base.as_ref();
            export(store, base, &options, matrix, &self.registry, &mut sink, &mut progress)
        });
        answer(exported)
    }
}

#[wasm_bindgen]
impl Session {
    /// What `gmat convert` would write.
    ///
    /// # Errors
    /// Like that.
    #[wasm_bindgen(js_name = planArrays)]
    pub fn plan_arrays(&self, options: &str) -> Result<String, JsValue> {
        let planned = parse(options).and_then(|options| {
            arrays::plan(self.picked()?, self.base.as_ref(), &options, &self.registry)
        });
        answer(planned)
    }

    /// Writes it.
    ///
    /// # Errors
    /// Like `gmat convert`.
    #[wasm_bindgen(js_name = writeArrays)]
    pub fn write_arrays(
        &self,
        options: &str,
        sink: HostSink,
        progress: HostProgress,
    ) -> Result<String, JsValue> {
        let written = parse(options).and_then(|options| {
            let (mut sink, mut progress) = (PageSink::new(sink), PageProgress(progress));
            let (picked, base) = (self.picked()?, self.base.as_ref());
            arrays::write(picked, base, &options, &self.registry, &mut sink, &mut progress)
        });
        answer(written)
    }
}

impl Session {
    fn picked(&self) -> Result<&Source> {
        self.source.as_ref().ok_or_else(|| nothing("model"))
    }

    fn import_of(&self, options: &str) -> Result<Import<'_>> {
        let options: ImportOptions = parse(options)?;
        Import::new(self.picked()?, &options, &self.registry)
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
