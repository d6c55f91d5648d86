%% The answers to requests, as `warp/pipeline' receives them.
-module(warp_pipeline_ffi).

-export([receive_one/2, receive_any/2]).

-spec receive_one(warp_core:request_id(), integer()) ->
    {ok, warp_core:seq() | {warp_core:seq(), warp_core:seq()}} | {error, warp_error_ffi:error()}.
receive_one(Request, Millis) ->
    case warp_core:receive_response(Request, Millis) of
        timeout -> {error, timeout};
        Response -> result(Response)
    end.

%% When no answer comes in time, or the time is none that can be waited for, all requests are given up.
-spec receive_any(warp_core:request_id_collection(), integer()) ->
    no_request
    | {answered, Label :: term(), {ok, term()} | {error, warp_error_ffi:error()}, warp_core:request_id_collection()}
    | {given_up, [Label :: term()], warp_error_ffi:error()}.
receive_any(Requests, Millis) ->
    case warp_core:receive_response(Requests, Millis, true) of
        no_request ->
            no_request;
        timeout ->
            {given_up, labels(Requests), timeout};
        {error, Reason} ->
            _ = [warp_core:receive_response(Request, 0) || {Request, _} <- warp_core:reqids_to_list(Requests)],
            {given_up, labels(Requests), warp_error_ffi:reason(Reason)};
        {Response, Label, Left} ->
            {answered, Label, result(Response), Left}
    end.

labels(Requests) ->
    [Label || {_Request, Label} <- warp_core:reqids_to_list(Requests)].

result({ok, _} = Ok) -> Ok;
result({error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.
