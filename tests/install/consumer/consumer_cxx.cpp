// SPDX-License-Identifier: Apache-2.0
// Uses an installed libgemel from C++: a cluster as values, of which the library finds the mistake.
#include <gemel/node.hpp>

#include <iostream>

int main() {
    libgemel::ClusterOptions cluster;
    cluster.name = "shop";
    cluster.key_file = "/etc/passwd";
    cluster.nodes = {{"alpha", {"127.0.0.1:7800"}}, {"beta", {"127.0.0.2:7800"}}};
    cluster.mirrors = {{"db", {"alpha", "beta"}, {{"disk \"0\"", "/srv/disk0", 1 << 20}}}};
    libgemel::NodeOptions options;
    options.cluster = cluster;
    options.node = "alpha";
    std::string why;
    if (libgemel::open_node(options, why) != nullptr) return 1;
    std::cout << why << '\n' << libgemel::error_text(libgemel::Error::not_serving) << '\n';
    return 0;
}
