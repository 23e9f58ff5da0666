# SPDX-License-Identifier: Apache-2.0
"""As much of PostgreSQL's client library as a test needs to know exactly which transaction was
acknowledged: a connection, and statements one after the other."""

import ctypes

CONNECTION_OK = 0
EMPTY_QUERY, COMMAND_OK, TUPLES_OK = 0, 1, 2   # ExecStatusType


class Refused(Exception):
    """What the server or the library says."""


class Connection:
    def __init__(self, library, parameters):
        """`parameters`: a connection string. Raises Refused."""
        self.pq = ctypes.CDLL(library)
        for name, result in (("PQconnectdb", ctypes.c_void_p), ("PQexec", ctypes.c_void_p),
                             ("PQerrorMessage", ctypes.c_char_p), ("PQgetvalue", ctypes.c_char_p)):
            getattr(self.pq, name).restype = result
        self.connection = ctypes.c_void_p(self.pq.PQconnectdb(parameters.encode()))
        if self.pq.PQstatus(self.connection) != CONNECTION_OK:
            message = self._message()
            self.pq.PQfinish(self.connection)
            raise Refused(message)

    def _message(self):
        return self.pq.PQerrorMessage(self.connection).decode(errors="replace").strip()

    def execute(self, statements):
        """The rows of the last one, as tuples of text. All of it has succeeded, or Refused."""
        result = ctypes.c_void_p(self.pq.PQexec(self.connection, statements.encode()))
        try:
            if self.pq.PQresultStatus(result) not in (EMPTY_QUERY, COMMAND_OK, TUPLES_OK):
                raise Refused(self._message())
            columns = range(self.pq.PQnfields(result))
            return [tuple(self.pq.PQgetvalue(result, row, column).decode() for column in columns)
                    for row in range(self.pq.PQntuples(result))]
        finally:
            self.pq.PQclear(result)
