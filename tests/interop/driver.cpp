// gmat-llama: asks the reference llama.cpp about one GGUF file; JSON on stdout.
//
//   gmat-llama info   MODEL.gguf
//   gmat-llama logits MODEL.gguf ID,ID,...
//   gmat-llama tokens MODEL.gguf STRINGS.json
//
// Warnings and errors of llama.cpp go to stderr. Exit code: 0; 1 when the model could not
// be loaded or evaluated; 2 for wrong usage. stdout is empty unless the code is 0.

#include "llama.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

using json = nlohmann::ordered_json;

namespace {

struct usage_error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Warnings are kept as well as shown: a file that loads with complaints about its
// metadata is a finding for a writer of such files.
std::vector<std::string> warnings;

void on_log(ggml_log_level level, const char * text, void *) {
    static ggml_log_level last = GGML_LOG_LEVEL_NONE;
    const bool continued = level == GGML_LOG_LEVEL_CONT;
    if (!continued) last = level;
    if (last == GGML_LOG_LEVEL_WARN || last == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
    if (last != GGML_LOG_LEVEL_WARN) return;
    if (!continued || warnings.empty()) warnings.emplace_back();
    warnings.back() += text;
}

using model_ptr = std::unique_ptr<llama_model, decltype(&llama_model_free)>;
using context_ptr = std::unique_ptr<llama_context, decltype(&llama_free)>;

model_ptr load(const char * path, bool vocab_only, bool check_tensors) {
    auto params = llama_model_default_params();
    params.n_gpu_layers = 0;
    // Reading everything touches every byte now; a mapping would fault on a truncated
    // file only when (and if) a tensor is used.
    params.load_mode = LLAMA_LOAD_MODE_NONE;
    // Without the buffer types that repack weights: the plain kernels are the ones whose
    // results other builds can be compared with.
    params.use_extra_bufts = false;
    params.vocab_only = vocab_only;
    params.check_tensors = check_tensors;
    model_ptr model(llama_model_load_from_file(path, params), llama_model_free);
    if (!model) throw std::runtime_error(std::string("could not load ") + path);
    return model;
}

std::string meta(const llama_model * model, const std::string & key) {
    char text[256] = "";
    return llama_model_meta_val_str(model, key.c_str(), text, sizeof text) < 0 ? "" : text;
}

std::vector<llama_token> parse_ids(const std::string & list, int32_t n_vocab) {
    std::vector<llama_token> ids;
    size_t at = 0;
    while (true) {
        const size_t end = std::min(list.find(',', at), list.size());
        const std::string part = list.substr(at, end - at);
        const bool digits = !part.empty() && part.size() < 10 &&
                            part.find_first_not_of("0123456789") == std::string::npos;
        if (!digits) throw usage_error("`" + part + "` is not a token id");
        ids.push_back(std::stoi(part));
        // llama.cpp would refuse the batch, but without naming the id.
        if (ids.back() >= n_vocab)
            throw usage_error("token id " + part + " is not below " + std::to_string(n_vocab));
        if (end == list.size()) return ids;
        at = end + 1;
    }
}

// Mean and population standard deviation, in double: the sums must not add their own error.
std::pair<double, double> spread(const float * v, size_t n) {
    const double mean = std::accumulate(v, v + n, 0.0) / n;
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += (v[i] - mean) * (v[i] - mean);
    return {mean, std::sqrt(squares / n)};
}

json info(const char * path) {
    const auto model = load(path, false, true);
    char desc[256] = "";
    llama_model_desc(model.get(), desc, sizeof desc);
    return {
        {"desc", desc},
        {"n_params", llama_model_n_params(model.get())},
        {"n_bytes", llama_model_size(model.get())},
        {"n_vocab", llama_vocab_n_tokens(llama_model_get_vocab(model.get()))},
        {"warnings", warnings},
    };
}

json logits(const char * path, const std::string & list) {
    const auto model = load(path, false, false);
    const int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model.get()));
    auto ids = parse_ids(list, n_vocab);
    const uint32_t n = ids.size();

    // An encoder (bert) attends both ways and has no head: its hidden states are the result.
    const std::string arch = meta(model.get(), "general.architecture");
    const bool encoder = meta(model.get(), arch + ".attention.causal") == "false";
    if (llama_model_has_encoder(model.get()))
        throw std::runtime_error(arch + " has an encoder and a decoder, which `logits` does not handle");

    auto params = llama_context_default_params();
    // One batch for everything: an encoder cannot be fed in pieces, and the result must
    // not depend on how the ids were cut.
    params.n_ctx = params.n_batch = params.n_ubatch = n;
    params.n_threads = params.n_threads_batch = 2;
    // Half-precision keys and values, and the fused attention that rounds its inputs,
    // would each move the logits by more than a wrong conversion of a small tensor does.
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.embeddings = encoder;
    params.pooling_type = encoder ? LLAMA_POOLING_TYPE_NONE : LLAMA_POOLING_TYPE_UNSPECIFIED;
    context_ptr context(llama_init_from_model(model.get(), params), llama_free);
    if (!context) throw std::runtime_error("could not create a context");

    auto batch = llama_batch_init(n, 0, 1);
    const std::unique_ptr<llama_batch, void (*)(llama_batch *)> owner(
        &batch, [](llama_batch * b) { llama_batch_free(*b); });
    batch.n_tokens = n;
    for (uint32_t i = 0; i < n; i++) {
        batch.token[i] = ids[i];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = true;
    }
    const int32_t status = (encoder ? llama_encode : llama_decode)(context.get(), batch);
    if (status != 0) throw std::runtime_error("evaluation failed with status " + std::to_string(status));

    const size_t width = encoder ? llama_model_n_embd_out(model.get()) : n_vocab;
    std::vector<float> all;
    for (uint32_t i = 0; i < n; i++) {
        const float * row = (encoder ? llama_get_embeddings_ith : llama_get_logits_ith)(context.get(), i);
        if (!row) throw std::runtime_error("no result for position " + std::to_string(i));
        all.insert(all.end(), row, row + width);
    }
    // JSON has no NaN; and such a result is never what a comparison wants.
    const auto broken = std::count_if(all.begin(), all.end(), [](float v) { return !std::isfinite(v); });
    if (broken) throw std::runtime_error(std::to_string(broken) + " values of the result are not finite");

    const auto [all_mean, all_std] = spread(all.data(), all.size());
    const float * last = all.data() + (n - 1) * width;
    const size_t head = std::min<size_t>(8, width);
    if (encoder) {
        return {
            {"mode", "enc"},
            {"input_ids", ids},
            {"first_position_first8", std::vector<float>(all.data(), all.data() + head)},
            {"last_position_first8", std::vector<float>(last, last + head)},
            {"all_mean", all_mean},
            {"all_std", all_std},
            {"shape", {n, width}},
        };
    }

    std::vector<size_t> argmax;
    for (uint32_t i = 0; i < n; i++) {
        const float * row = all.data() + i * width;
        argmax.push_back(std::max_element(row, row + width) - row);
    }
    std::vector<int32_t> order(width);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return last[a] > last[b]; });
    json top8;
    for (size_t i = 0; i < head; i++) top8.push_back({order[i], last[order[i]]});
    const auto [last_mean, last_std] = spread(last, width);
    return {
        {"mode", "logits"},
        {"input_ids", ids},
        {"n_logits", width},
        {"top8", top8},
        {"last_mean", last_mean},
        {"last_std", last_std},
        {"all_positions_argmax", argmax},
        {"all_mean", all_mean},
        {"all_std", all_std},
    };
}

std::vector<llama_token> tokenize(const llama_vocab * vocab, const std::string & text, bool add_special) {
    // Special tokens spelled out in the text are parsed, as the tokenizers of checkpoints do.
    const auto call = [&](llama_token * out, size_t max) {
        return llama_tokenize(vocab, text.data(), text.size(), out, max, add_special, true);
    };
    // With no room it answers minus the number of ids.
    std::vector<llama_token> ids(-static_cast<int64_t>(call(nullptr, 0)));
    if (call(ids.data(), ids.size()) != static_cast<int32_t>(ids.size()))
        throw std::runtime_error("could not tokenize `" + text + "`");
    return ids;
}

json tokens(const char * path, const char * strings) {
    std::ifstream file(strings);
    if (!file) throw usage_error(std::string("could not open ") + strings);
    const auto list = json::parse(file, nullptr, false); // false: no exception, fails the next check
    if (!list.is_array() || !std::all_of(list.begin(), list.end(), [](const json & v) { return v.is_string(); }))
        throw usage_error(std::string(strings) + " is not a JSON array of strings");
    const auto model = load(path, true, false);
    const auto * vocab = llama_model_get_vocab(model.get());
    auto out = json::array();
    for (const std::string text : list)
        out.push_back({{"ids", tokenize(vocab, text, false)}, {"ids_special", tokenize(vocab, text, true)}});
    return out;
}

json run(const std::vector<const char *> & args) {
    const std::string verb = args.empty() ? "" : args[0];
    if (verb == "info" && args.size() == 2) return info(args[1]);
    if (verb == "logits" && args.size() == 3) return logits(args[1], args[2]);
    if (verb == "tokens" && args.size() == 3) return tokens(args[1], args[2]);
    throw usage_error("usage: gmat-llama info MODEL | logits MODEL ID,ID,... | tokens MODEL STRINGS.json");
}

} // namespace

int main(int argc, char ** argv) {
    llama_log_set(on_log, nullptr);
    llama_backend_init();
    try {
        // Strings out of a model file need not be UTF-8; JSON must be.
        const auto replace = json::error_handler_t::replace;
        std::puts(run({argv + 1, argv + argc}).dump(-1, ' ', false, replace).c_str());
        return 0;
    } catch (const usage_error & e) {
        std::fprintf(stderr, "gmat-llama: %s\n", e.what());
        return 2;
    } catch (const std::exception & e) {
        std::fprintf(stderr, "gmat-llama: %s\n", e.what());
        return 1;
    }
}
