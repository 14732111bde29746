/*
 * What tests do at run time: POST (or GET) /_fake/<verb>?container=NAME&...
 *
 * container is a name, an id, or a pattern as of a shell; without it all are meant. The answer is
 * {"containers":N}, the number of those concerned, or what is said below; 400 and 404 otherwise.
 *
 * for containers
 *   emit            lines now: n=1 size stderr-every same-timestamp no-newline=0; with a body:
 *                   its lines instead of generated ones, stream=o|e
 *   partial         a line in pieces: size=40000 interleave=0 (a line on stderr in between)
 *                   no-newline=0
 *   rate            live lines a second: rate
 *   start, pause, unpause
 *   die             exit=0 lose=0 (1: open follows end where they are, as 20.10 does it)
 *   restart         exit=0 policy=0 (1: by a restart policy: counted, no kill, stop, restart)
 *   destroy         lose=0; kills first if it runs
 *   rename          name
 *   raw             body: one chunk of these bytes on every open follow
 *   frame3          an error frame on every open follow: text end=1
 *   cut             follows: mode=fin-no-last-chunk|rst|bad-chunk|mid-frame|clean
 *   silence         on=1: follows deliver nothing more; new ones replay only; on=0: they go on
 *   truncate        the history is empty
 *   rotate          the last keep=N records remain
 *   same-timestamp  k=K: groups of K further lines share a timestamp (0: no more)
 *   clock-step      ms=MS (may be negative): for all containers also the time of events
 *   stall-headers   on=1: log streams have no head before their first line
 *   status          status=CODE body=JSON (or a body) count=0: the next count (0: all) requests
 *                   of logs are answered so; status=0: no more. With endpoint=NAME instead of
 *                   container: the requests of that endpoint
 *   show            {"list":[{"id","name","state","begin","end","out","err","follows"}]}: records
 *                   there are, and lines of each stream till now
 * for the whole
 *   create          name n=1 image driver tty label=k=v... lines rate size stderr-every start=1
 *                   {"list":[{"id","name",...}]}
 *   event           body: sent to all listeners as it is
 *   drop-events     on=1: events are lost
 *   close-events    mode, as of cut
 *   hang            endpoint=ping|version|info|list|inspect|logs|events|other|all on=1: requests
 *                   are never answered
 *   refuse          ms=1000: nobody listens; cut=0 (1: and what is open is closed)
 *   split           size=1 every=0 (ms): answers go out in pieces of that size; size=0: no more
 *   stats           {"accepted","open","max_open","follows","event_listeners","containers",
 *                   "requests":{...}}, without the control connections
 */
#ifndef FAKE_CONTROL_H
#define FAKE_CONTROL_H

#include "fake_dockerd/http.h"
#include "fake_dockerd/server.h"

void fake_control_handle(struct fake_connection *connection, const struct fake_request *request);

#endif
