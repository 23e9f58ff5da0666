// SPDX-License-Identifier: Apache-2.0
// Answers each line, which is SQL, from a database that two machines keep: the rows, a value after
// the other with '|' between them, and "done", or "error: ..." . What was answered "done" outside
// of a transaction, or to COMMIT, is there whichever machine goes on.
#include "examples/shell_node.hpp"
#include "examples/sqlite_vfs.hpp"
#include <memory>
#include <sqlite3.h>
#include <string>

namespace {

using examples::DatabaseFiles;
using libgemel::Error;

class Database {
   public:
    // "" or why not.
    std::string open(libgemel::Volume& volume) {
        if (files_ == nullptr) {
            files_ = std::make_unique<DatabaseFiles>(volume);
            if (examples::register_vfs(*files_) != SQLITE_OK) return "error: no VFS";
        }
        if (const Error error = files_->open(); error != Error::none) {
            return std::string("error: ") + libgemel::error_text(error);
        }
        const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
        const int result = sqlite3_open_v2("/mirrored.db", &connection_, flags, "gemel");
        bool lost = false;
        std::string answer =
            result == SQLITE_OK ? run("PRAGMA synchronous = FULL", lost) : failure();
        if (answer == "done") return {};
        close();
        return answer;
    }

    void close() {
        sqlite3_close(connection_);
        connection_ = nullptr;
    }

    std::string run(const std::string& sql, bool& lost) {
        std::string rows;
        const int result =
            sqlite3_exec(connection_, sql.c_str(), &Database::add_row, &rows, nullptr);
        if (result == SQLITE_OK) return rows + "done";
        lost = (result & 0xff) == SQLITE_IOERR;
        return failure();
    }

   private:
    static int add_row(void* rows, int count, char** values, char**) {
        std::string& text = *static_cast<std::string*>(rows);
        for (int i = 0; i < count; ++i) {
            text += values[i] == nullptr ? "" : values[i];
            text += i + 1 < count ? '|' : '\n';
        }
        return 0;
    }
    [[nodiscard]] std::string failure() const {
        return std::string("error: ") + sqlite3_errmsg(connection_);
    }

    std::unique_ptr<DatabaseFiles> files_;
    sqlite3* connection_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) {
    Database database;
    examples::Shell shell;
    shell.open = [&](libgemel::Volume& volume) { return database.open(volume); };
    shell.answer = [&](const std::string& line, bool& lost) { return database.run(line, lost); };
    shell.close = [&] { database.close(); };
    return examples::run_shell(argc, argv, shell);
}
