// SPDX-License-Identifier: Apache-2.0
#include "controller/witness_config.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>

namespace gemel {

namespace {

// In the order of their names. An error has been reported when there is none.
std::vector<std::string> files_of(const std::string& path, std::vector<ConfigError>& errors) {
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) return {path};
    std::vector<std::string> files;
    std::filesystem::directory_iterator entries(path, error);
    for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
        if (entries->path().extension() == ".toml") files.push_back(entries->path().string());
    }
    if (error) {
        errors.push_back({path, 0, 0, "cannot be read: " + error.message()});
        return {};
    }
    if (files.empty()) errors.push_back({path, 0, 0, "has no *.toml in it, one for each cluster"});
    std::sort(files.begin(), files.end());
    return files;
}

class Loader {
   public:
    void load(const std::string& file) {
        ConfigResult loaded = load_config(file, {});
        if (!loaded.config) {
            result_.errors.insert(result_.errors.end(), loaded.errors.begin(), loaded.errors.end());
            return;
        }
        const Config& config = *loaded.config;
        if (config.arbiter.kind != ArbiterKind::witness) {
            return error(file,
                         "names no witness: [arbiter] needs kind = \"witness\" and an address");
        }
        std::string why;
        const Result<ClusterKey> key = load_key_file(config.key_file, why);
        if (!key.ok()) return error(file, std::move(why));
        const auto [named, is_new_name] = names_.emplace(config.cluster, file);
        if (!is_new_name) {
            return error(file, "cluster '" + config.cluster + "' is in " + named->second +
                                   " already; two clusters need two names");
        }
        const auto [keyed, is_new_key] = keys_.emplace(key.value(), file);
        if (!is_new_key) {
            return error(file, "the key in '" + config.key_file + "' is that of " + keyed->second +
                                   ", too; a cluster needs a key of its own, `gemel keygen` "
                                   "makes one");
        }
        result_.clusters.push_back({config.cluster, key.value(), config.arbiter.address});
    }

    WitnessConfig result_;

   private:
    void error(const std::string& file, std::string sentence) {
        result_.errors.push_back({file, 0, 0, std::move(sentence)});
    }

    std::map<std::string, std::string> names_;  // to the file
    std::map<ClusterKey, std::string> keys_;
};

}  // namespace

WitnessConfig load_witness_config(const std::string& path) {
    Loader loader;
    for (const std::string& file : files_of(path, loader.result_.errors)) loader.load(file);
    return std::move(loader.result_);
}

}  // namespace gemel
