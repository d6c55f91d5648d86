%% @private Terms as bytes in files: states in snapshots, and reasons of sagas. Somebody may have made or changed a
%% file by hand, so reading a term never makes atoms, which the VM keeps for good, and never decompresses.
-module(warp_term).

-export([to_bytes/1, from_bytes/1]).

-define(VERSION, 131).
-define(COMPRESSED, 80).

%% @doc The bytes of a term. They are never compressed.
-spec to_bytes(term()) -> binary().
to_bytes(Term) ->
    term_to_binary(Term).

%% @doc The term in these bytes. `unreadable' if they are no term, if they are compressed, or if they name an atom or
%% a function that the VM does not know (yet).
-spec from_bytes(binary()) -> {ok, term()} | unreadable.
from_bytes(<<?VERSION, ?COMPRESSED, _/binary>>) ->
    unreadable;
from_bytes(Bytes) ->
    try
        {ok, binary_to_term(Bytes, [safe])}
    catch
        error:badarg -> unreadable
    end.
