// SPDX-License-Identifier: Apache-2.0
#include "examples/shell_node.hpp"

#include <atomic>
#include <iostream>
#include <memory>

namespace examples {

int run_shell(int argc, char** argv, const Shell& shell) {
    if (argc != 5) {
        std::cerr << "usage: " << argv[0] << " CONFIG NODE STATE-DIRECTORY RUN-DIRECTORY\n";
        return 2;
    }
    // Counts the times that this node began to serve: a volume opened in an earlier one is void,
    // even if no line came in between.
    std::atomic<unsigned> services{0};
    libgemel::NodeOptions options;
    options.config_file = argv[1];
    options.node = argv[2];
    options.state_directory = argv[3];
    options.run_directory = argv[4];
    options.on_event = [&services](const libgemel::Event& event) {
        if (event.kind == libgemel::EventKind::serving) ++services;
    };
    options.on_log = [](libgemel::LogLevel, std::string_view line) {
        std::cerr << std::string(line) + '\n';
    };
    std::string why;
    const std::unique_ptr<libgemel::Node> node = libgemel::open_node(options, why);
    if (node == nullptr) {
        std::cerr << argv[0] << ": " << why << '\n';
        return 1;
    }
    libgemel::Volume& volume = node->mirror(0).volume(0);
    bool is_open = false;
    unsigned opened_in = 0;
    for (std::string line; std::getline(std::cin, line);) {
        if (is_open && (opened_in != services.load() || !volume.mirror().serves())) {
            shell.close();
            is_open = false;
        }
        std::string answer;
        if (!is_open && volume.mirror().serves()) {
            opened_in = services.load();
            answer = shell.open(volume);
            is_open = answer.empty();
        }
        if (is_open) {
            bool lost = false;
            answer = shell.answer(line, lost);
            if (lost) {
                shell.close();
                is_open = false;
            }
        } else if (answer.empty()) {
            answer = "error: this node does not serve";
        }
        std::cout << answer << std::endl;
    }
    if (is_open) shell.close();
    return 0;
}

}  // namespace examples
