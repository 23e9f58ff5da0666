// SPDX-License-Identifier: Apache-2.0
// Goal: what a transaction has committed is there after a power cut of both nodes at any request,
// and the database is whole (SQLite's own crash tests, as far as a VFS shows them).
// Method: a fixed history of transactions; the volume ends at its first, second, ... request, loses
// what was not flushed by chance, and is opened again.
#include "tests/unit/examples/forgetful_volume.hpp"

#include <gtest/gtest.h>

#include "examples/sqlite_vfs.hpp"
#include <limits>
#include <sqlite3.h>
#include <string>

namespace examples::test {
namespace {

constexpr std::size_t kVolumeSize = 256 << 10;
constexpr int kTransactions = 8;

class Database {
   public:
    explicit Database(ForgetfulVolume& volume) : files_(volume) {
        if (register_vfs(files_) != SQLITE_OK) return;
        if (files_.open() != libgemel::Error::none) return;
        sqlite3_open_v2("/test.db", &connection_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                        "gemel");
    }
    ~Database() { sqlite3_close(connection_); }

    bool run(const std::string& sql) {
        return connection_ != nullptr &&
               sqlite3_exec(connection_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK;
    }
    // The first value, or why there is none.
    std::string value(const std::string& sql) {
        sqlite3_stmt* statement = nullptr;
        std::string text;
        if (sqlite3_prepare_v2(connection_, sql.c_str(), -1, &statement, nullptr) == SQLITE_OK &&
            sqlite3_step(statement) == SQLITE_ROW) {
            text = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
        } else {
            text = sqlite3_errmsg(connection_);
        }
        sqlite3_finalize(statement);
        return text;
    }

   private:
    DatabaseFiles files_;
    sqlite3* connection_ = nullptr;
};

// Transaction `number` puts it into two tables, and writes over pages of earlier ones.
std::string transaction(int number) {
    const std::string n = std::to_string(number);
    const std::string fill = std::to_string(500 + 700 * (number % 4));
    return "BEGIN; INSERT INTO a VALUES (" + n + ", randomblob(" + fill + "));" +
           "UPDATE a SET data = randomblob(" + fill +
           ") WHERE n % 3 = " + std::to_string(number % 3) + "; INSERT INTO b VALUES (" + n +
           ", zeroblob(" + fill + ")); COMMIT;";
}

// How many transactions were acknowledged; -1: not even the tables.
int work(ForgetfulVolume& volume) {
    Database database(volume);
    if (!database.run("PRAGMA synchronous = FULL; PRAGMA cache_size = 4;") ||
        !database.run("BEGIN; CREATE TABLE a (n, data); CREATE TABLE b (n, data); COMMIT;")) {
        return -1;
    }
    for (int number = 0; number < kTransactions; ++number) {
        if (!database.run(transaction(number))) return number;
    }
    return kTransactions;
}

void expect_whole(ForgetfulVolume::Image image, int acknowledged) {
    ForgetfulVolume volume(std::move(image), std::numeric_limits<std::size_t>::max());
    Database database(volume);
    EXPECT_EQ(database.value("PRAGMA integrity_check"), "ok");
    if (acknowledged < 0) return;
    const std::string count = database.value("SELECT count(*) FROM a");
    EXPECT_TRUE(count == std::to_string(acknowledged) || count == std::to_string(acknowledged + 1))
        << count << " of " << acknowledged;
    EXPECT_EQ(database.value("SELECT count(*) FROM b"), count);
    EXPECT_TRUE(database.run("INSERT INTO a VALUES (99, 'goes on')"));
}

TEST(SqliteCrash, EveryCommittedTransactionSurvivesAPowerCutAtAnyRequest) {
    ForgetfulVolume whole(ForgetfulVolume::Image(kVolumeSize),
                          std::numeric_limits<std::size_t>::max());
    ASSERT_EQ(work(whole), kTransactions);
    const std::size_t requests = whole.requests();
    ASSERT_GT(requests, 100U);
    for (std::size_t last = 0; last < requests; ++last) {
        ForgetfulVolume volume(ForgetfulVolume::Image(kVolumeSize), last);
        const int acknowledged = work(volume);
        SCOPED_TRACE("after request " + std::to_string(last));
        expect_whole(volume.image_after_power_cut(static_cast<unsigned>(last)), acknowledged);
        if (testing::Test::HasFailure()) return;
    }
}

}  // namespace
}  // namespace examples::test
