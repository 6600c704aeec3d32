-- ARGV: now, kinds, delays, then for each settlement the token and a body (progress, outcome, failure, the name under which it
-- is parked, or nothing), then for each reply the place of its settlement, its list and its body; for each outgoing message the
-- same, with the place below 0.
-- kinds: a letter for each: S started, P progressed, U unresponsive, 4 to 8 finished in this state, R retried, r retried
-- without a failure to show, L released. delays: msgpack, place in the batch -> seconds, where it is not 0.
-- Returns 1 or 0 for each; 2: it is stored, and its reply is not.

-- include sending.lua
-- End a job that would come back, and whose start was its last.
local function bury(job)
    finish_ours(job, job.s[CANCEL] and CANCELLED or DEAD)
end

local kinds, delays, answers, given_back, ended = ARGV[2], decode(ARGV[3]), {}, {}, {}

local last = 3 + 2 * #kinds
for i = last + 1, #ARGV, 3 do
    if tonumber(ARGV[i]) < 0 and not is_line(ARGV[i + 1]) then
        return not_a_line(ARGV[i + 1])
    end
end
for i = 1, #kinds do
    local token, body, kind = ARGV[2 + 2 * i], ARGV[3 + 2 * i], string.sub(kinds, i, i)
    local job = load(string.sub(token, 17))
    if not job or job.s[TOKEN] ~= token then
        answers[i] = 0
    else
        answers[i] = 1
        local s = job.s
        if kind == 'P' then
            call('HSET', P .. 'j:' .. job.n, 'g', body)
            hint('change', meta(job)[ID])
        elseif kind == 'U' then
            change(job)[UNRESPONSIVE] = true
            hint('outcome', meta(job)[ID])
        elseif kind == 'S' then
            if s[STATE] == CLAIMED then
                change(job)
                s[STATE], s[ATTEMPTS], s[BEGUN] = STARTED, s[ATTEMPTS] + 1, now
                hint('change', meta(job)[ID])
            end
        else
            change(job)
            given_back[#given_back + 1] = token
            local once = meta(job)[ONCE]
            if kind == 'L' and once and s[STATE] == STARTED then
                bury(job)
            elseif kind == 'L' then
                s[ATTEMPTS] = s[ATTEMPTS] - (s[STATE] == STARTED and 1 or 0)
                give_back(job, delays[i] or 0, body ~= '' and body)
            else
                s[ATTEMPTS] = s[ATTEMPTS] + (s[STATE] == CLAIMED and 1 or 0)
                job.outcome = kind ~= 'r' and body -- false: there is none any more
                if (kind == 'R' or kind == 'r') and once then
                    bury(job)
                elseif kind == 'R' or kind == 'r' then
                    give_back(job, delays[i] or 0)
                else
                    finish(job, tonumber(kind))
                    ended[#ended + 1] = job
                end
            end
        end
    end
end
flush()
for i = last + 1, #ARGV, 3 do
    local place = tonumber(ARGV[i])
    if place < 0 and answers[-place] > 0 then
        put_outgoing(ARGV[i + 1], ARGV[i + 2])
    elseif answers[place] == 1 then
        local key = P .. 'out:' .. ARGV[i + 1]
        local kept = redis.pcall('RPUSH', key, ARGV[i + 2]) -- not `call`: somebody may have made another thing of this key
        if type(kept) == 'number' then
            if kept > REPLIES_KEPT then
                call('LTRIM', key, -REPLIES_KEPT, -1)
            end
            call('EXPIRE', key, REPLY_SECONDS)
        else
            answers[place] = 2
        end
    end
end
if #given_back > 0 and call('EXISTS', P .. 'parents') == 1 then
    for _, token in ipairs(given_back) do
        end_owner(token, OWNER_ENDED)
    end
    for _, job in ipairs(ended) do
        local owner = 'job:' .. meta(job)[ID]
        if call('HEXISTS', P .. 'parents', owner) == 1 then
            end_owner(owner, OWNER_ENDED)
        end
    end
end
return done(answers)
