// SPDX-License-Identifier: Apache-2.0
// `set KEY VALUE`, `get KEY` and `size`, one a line, over a log that two machines keep.
#include "examples/key_value_log.hpp"
#include "examples/shell_node.hpp"
#include <memory>
#include <sstream>

namespace {

using examples::KeyValueLog;
using libgemel::Error;

std::string failure(Error error) { return std::string("error: ") + libgemel::error_text(error); }

std::string answer(KeyValueLog& log, const std::string& line, bool& lost) {
    std::istringstream words(line);
    std::string verb, key, value;
    words >> verb >> key;
    std::getline(words >> std::ws, value);
    if (verb == "size") return std::to_string(log.size());
    if (verb == "get") {
        const std::string* found = log.find(key);
        return found == nullptr ? "error: no such key" : *found;
    }
    if (verb != "set") return "error: set KEY VALUE, get KEY or size";
    const Error error = log.append(key, value);
    lost = error == Error::not_serving || error == Error::outcome_unknown || error == Error::io;
    return error == Error::none ? "ok" : failure(error);
}

}  // namespace

int main(int argc, char** argv) {
    std::unique_ptr<KeyValueLog> log;
    examples::Shell shell;
    shell.open = [&log](libgemel::Volume& volume) {
        log = std::make_unique<KeyValueLog>(volume);
        const Error error = log->recover();
        return error == Error::none ? std::string() : failure(error);
    };
    shell.answer = [&log](const std::string& line, bool& lost) { return answer(*log, line, lost); };
    shell.close = [&log] { log.reset(); };
    return examples::run_shell(argc, argv, shell);
}
