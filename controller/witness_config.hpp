// SPDX-License-Identifier: Apache-2.0
// The clusters that a witness serves: one configuration, or a directory with one for each. Two
// clusters never share a name or a key, so nobody can read or write the other's registers.
#pragma once

#include "controller/config.hpp"
#include "controller/keyfile.hpp"

#include <string>
#include <vector>

namespace gemel {

struct WitnessCluster {
    std::string name;
    ClusterKey key{};
    SocketAddress address;  // where its nodes ask
};

struct WitnessConfig {
    std::vector<WitnessCluster> clusters;  // at least one when there are no errors
    std::vector<ConfigError> errors;
};

// `path`: a gemel.toml, or a directory of which every *.toml is one; of each only [cluster] and
// [arbiter] count. Reads the keys, too.
WitnessConfig load_witness_config(const std::string& path);

}  // namespace gemel
