%% @doc JSON text of the terms that Warp takes and gives, made and read by Warp's native library: on a normal scheduler
%% if the text is short, and on a dirty one otherwise.
%%
%% Binaries are strings, maps are objects, and atoms are strings, but for `true', `false', and `null' or `nil'.
-module(warp_json).

-export([encode/2, encode_long/1, encode_padded/1, decode/1]).

%% More bytes than any text has that is made of terms that were checked before.
-define(ANY_SIZE, 1 bsl 40).

%% @doc A term as JSON text of at most so many bytes. Binaries have to be UTF-8. An error says what has no form in JSON,
%% as one of {@link warp_error:problems/0}.
-spec encode(term(), MaxBytes :: pos_integer()) -> {ok, binary()} | {error, term()}.
encode(Term, MaxBytes) ->
    encode(Term, false, MaxBytes).

%% @private A term as JSON text of any size. Uses a dirty scheduler at once, for texts that are likely to be long.
-spec encode_long(term()) -> {ok, binary()} | {error, term()}.
encode_long(Term) ->
    warp_nif:json_encode_dirty(Term, false, ?ANY_SIZE).

%% @private A term as JSON text of any size, with 17 digits in each float, for SQLite's JSON functions.
-spec encode_padded(term()) -> {ok, binary()} | {error, term()}.
encode_padded(Term) ->
    encode(Term, true, ?ANY_SIZE).

encode(Term, Padded, MaxBytes) ->
    case warp_nif:json_encode(Term, Padded) of
        dirty -> warp_nif:json_encode_dirty(Term, Padded, MaxBytes);
        Encoded -> Encoded
    end.

%% @doc The object in a JSON text, as a map with binary keys. An error says what is wrong with the text, as one of
%% {@link warp_error:problems/0}; `not_an_object' where it is another value.
-spec decode(binary()) -> {ok, map()} | {error, term()}.
decode(Text) ->
    case warp_nif:json_decode(Text) of
        dirty -> warp_nif:json_decode_dirty(Text);
        Decoded -> Decoded
    end.
