// SPDX-License-Identifier: Apache-2.0
// The commands that need no daemon.
#include "controller/config.hpp"
#include "controller/doctor.hpp"
#include "controller/keyfile.hpp"
#include "controller/rate_range.hpp"
#include "controller/status_text.hpp"
#include "tools/gemel/commands.hpp"

#include <cstdio>

namespace gemel {

void complain(const std::string& sentence) {
    std::fprintf(stderr, "gemel: %s\n", sentence.c_str());
}

int check_config_file(const std::string& run, const std::string& state, const std::string& file) {
    const ConfigResult result = load_config(file, {state, run, true});
    for (const ConfigError& error : result.errors) {
        std::fprintf(stderr, "%s\n", error.to_string().c_str());
    }
    if (!result.config) return kExitUsage;
    const std::size_t nodes = result.config->nodes.size();
    const std::size_t mirrors = result.config->mirrors.size();
    std::printf("%s: %zu node%s, %zu mirror%s, no mistakes\n", file.c_str(), nodes,
                nodes == 1 ? "" : "s", mirrors, mirrors == 1 ? "" : "s");
    for (const MirrorConfig& mirror : result.config->mirrors) {
        if (mirror.resync_rate != ResyncRateRange()) {
            std::printf("%s: rate of resyncs: %s\n", mirror.name.c_str(),
                        describe_rate_range(mirror.resync_rate).c_str());
        }
        for (const std::string& pattern : mirror.exclude) {
            std::printf("%s: kept per node, not mirrored: %s\n", mirror.name.c_str(),
                        printable(pattern).c_str());
        }
    }
    return kExitDone;
}

int make_key(const std::string& file) {
    std::string sentence;
    if (make_key_file(file, sentence).ok()) return kExitDone;
    complain(sentence);
    return kExitFailed;
}

int examine(const std::vector<std::string>& directories, bool json) {
    std::vector<DoctorFinding> findings = examine_machine();
    for (const std::string& directory : directories) {
        findings.push_back(examine_attributes(directory));
    }
    const std::string text = json ? to_json(findings) + "\n" : to_text(findings);
    std::fputs(text.c_str(), stdout);
    return kExitDone;
}

int show_version() {
    std::puts("gemel " GEMEL_VERSION);
    return kExitDone;
}

}  // namespace gemel
